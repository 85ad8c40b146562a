"""Preference pairs in a folder of images with a metadata file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from deradiff.dpo.pairs import PreferencePair, ordered_pair, preferred_side, require_columns

_COLUMNS = ("caption", "jpg_0_file_name", "jpg_1_file_name", "label_0")


class _Row(NamedTuple):
    prompt: Any
    files: tuple[Path, Path]
    side: int
    where: str


class PreferenceFolder:
    """Preference pairs of a folder with images and `metadata.csv` or `metadata.jsonl`.

    The form is that of `ImageFolder` in the library `datasets`, with the columns of Pick-a-Pic:
    `caption`, `jpg_0_file_name` and `jpg_1_file_name` (paths from the folder), and `label_0`: 1
    where the first image was preferred, 0 where the second one was, 0.5 for a tie. Ties are
    dropped. Images are opened when a pair is asked for.

    Args:
        folder: The folder.
        resolution: Side in pixels of the square that every image is resized and cropped to, about
            its centre; None keeps the images as they are.

    Raises:
        ValueError: If the folder has no metadata file or two, or if a row is not as described; the
            message names the file and the row. Rows are counted from 1, without the header.
    """

    def __init__(self, folder: str | Path, *, resolution: int | None = None) -> None:
        self._resolution = resolution
        self._rows = list(_labelled_rows(_metadata_file(Path(folder))))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._rows)

    def __getitem__(self, index: int) -> PreferencePair:
        """Return one pair."""
        row = self._rows[index]
        return ordered_pair(
            row.prompt, row.files, side=row.side, resolution=self._resolution, where=row.where
        )


def _metadata_file(folder: Path) -> Path:
    found = [path for end in ("csv", "jsonl") if (path := folder / f"metadata.{end}").is_file()]
    if len(found) != 1:
        names = " and ".join(path.name for path in found) or "neither"
        raise ValueError(f"{folder}: expected metadata.csv or metadata.jsonl, found {names}")
    return found[0]


def _labelled_rows(path: Path) -> Iterator[_Row]:
    """Yield the rows that are no ties, with their files checked."""
    read = _csv_rows if path.suffix == ".csv" else _json_rows
    for number, cells in enumerate(read(path), start=1):
        where = f"{path}: row {number}"
        require_columns({name for name in cells if name is not None}, _COLUMNS, where=where)
        side = preferred_side(cells["label_0"], where=where)
        if side is None:
            continue
        files = [_image_file(path.parent, cells[name], where=where) for name in _COLUMNS[1:3]]
        yield _Row(cells["caption"], (files[0], files[1]), side, where)


def _image_file(folder: Path, name: Any, *, where: str) -> Path:
    if not isinstance(name, str) or not (folder / name).is_file():
        raise ValueError(f"{where}: expected a file of the folder, found no {name!r}")
    return folder / name


def _csv_rows(path: Path) -> Iterator[dict[Any, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield from csv.DictReader(file)


def _json_rows(path: Path) -> Iterator[dict[Any, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                cells = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}: row {number}: expected JSON ({error})") from None
            if not isinstance(cells, dict):
                raise ValueError(f"{path}: row {number}: expected a JSON object, found {line!r}")
            yield cells
