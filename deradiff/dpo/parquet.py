"""Preference pairs in parquet files with the columns of Pick-a-Pic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deradiff.dpo.pairs import PreferencePair, ordered_pair, preferred_side, require_columns

_IMAGES = ("jpg_0", "jpg_1")
_COLUMNS = ("caption", *_IMAGES, "label_0")

_GROUPS_IN_MEMORY = 8
"""Row groups that are shuffled together and held at a time, encoded: parquet is read by whole row
groups, and those of Pick-a-Pic hold some hundred pairs and tens of megabytes each."""


class _Group(NamedTuple):
    path: Path
    number: int
    first_row: int  # number in the file of the group's first row, from 1


class PreferenceParquet:
    """Preference pairs of parquet files with the columns of Pick-a-Pic.

    `caption`, the encoded images `jpg_0` and `jpg_1`, and `label_0`: 1 where the first image was
    preferred, 0 where the second one was, 0.5 for a tie. Ties are dropped, and so are rows whose
    `has_label`, if there is such a column, is false. Needs pyarrow, of the extra `dpo`.

    Labels are read at once, captions and images by row groups when a pair is asked for. A training
    goes through the pairs in the order of `shuffled_indices`, which reads every row group once per
    epoch.

    Args:
        source: A parquet file, a folder of them, or a sequence of files.
        resolution: Side in pixels of the square that every image is resized and cropped to, about
            its centre; None keeps the images as they are.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If there is no parquet file, or if a file or a row is not as described; the
            message names the file and the row, counted from 1.
    """

    def __init__(
        self, source: str | Path | Sequence[str | Path], *, resolution: int | None = None
    ) -> None:
        self._resolution = resolution
        self._groups = [group for path in _parquet_files(source) for group in _row_groups(path)]
        sides = [_sides(group) for group in self._groups]
        # One row per pair: (group, row in the group, preferred side).
        table = [(g, r, side) for g, rows in enumerate(sides) for r, side in rows]
        self._pairs = np.array(table, dtype=np.int64).reshape(-1, 3)
        self._read = lru_cache(maxsize=_GROUPS_IN_MEMORY)(_read_group)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._pairs)

    def __getitem__(self, index: int) -> PreferencePair:
        """Return one pair."""
        number, row, side = self._pairs[index].tolist()
        group = self._groups[number]
        where = f"{group.path}: row {group.first_row + row}"
        cells = {name: column[row].as_py() for name, column in self._read(group).items()}
        first, second = (_encoded(cells[name], f"{where}: {name}") for name in _IMAGES)
        return ordered_pair(
            cells["caption"],
            (first, second),
            side=side,
            resolution=self._resolution,
            where=where,
        )

    def shuffled_indices(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return every index once: row groups in a random order, their pairs mixed eight by eight.

        Args:
            rng: Source of the order.
        """
        groups = rng.permutation(len(self._groups))
        # The place of each pair's group in the new order, and with it the window it belongs to.
        place = np.empty(len(groups), dtype=np.int64)
        place[groups] = np.arange(len(groups))
        window = place[self._pairs[:, 0]] // _GROUPS_IN_MEMORY
        return np.lexsort((rng.random(len(self)), window))


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ImportError(
            "reading parquet needs pyarrow, of the extra dpo: pip install 'lamsearch[dpo]'"
        ) from None
    return parquet


def _parquet_files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        files = [Path(path) for path in source]
    elif Path(source).is_dir():
        files = sorted(Path(source).glob("*.parquet"))
    else:
        files = [Path(source)]
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        name = missing[0] if missing else source
        raise ValueError(f"{name}: expected a parquet file or a folder of them")
    return files


def _row_groups(path: Path) -> list[_Group]:
    """Return the row groups of a file whose columns are right."""
    try:
        metadata = _parquet().read_metadata(path)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise ValueError(f"{path}: expected a parquet file ({error})") from None
    require_columns(set(metadata.schema.to_arrow_schema().names), _COLUMNS, where=str(path))
    counts = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    first_rows = accumulate(counts[:-1], initial=1)
    return [_Group(path, k, first) for k, first in enumerate(first_rows) if counts]


def _sides(group: _Group) -> list[tuple[int, int]]:
    """Return (row, preferred side) of the rows with a preference."""
    file = _parquet().ParquetFile(group.path)
    has_label = "has_label" in file.schema_arrow.names
    columns = ["label_0", "has_label"] if has_label else ["label_0"]
    table = file.read_row_group(group.number, columns=columns).to_pydict()
    sides = []
    for row, label in enumerate(table["label_0"]):
        if has_label and not table["has_label"][row]:
            continue
        side = preferred_side(label, where=f"{group.path}: row {group.first_row + row}")
        if side is not None:
            sides.append((row, side))
    return sides


def _read_group(group: _Group) -> dict[str, Any]:
    """Return the columns `caption`, `jpg_0` and `jpg_1` of a row group."""
    file = _parquet().ParquetFile(group.path)
    table = file.read_row_group(group.number, columns=list(_COLUMNS[:3]))
    return {name: table.column(name) for name in _COLUMNS[:3]}


def _encoded(cell: Any, where: str) -> bytes:
    """Return an encoded image: the cell itself, or the bytes of an `Image` of `datasets`."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise ValueError(f"{where}: expected an encoded image, found {type(cell).__name__}")
    return content
