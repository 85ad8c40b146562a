"""Preference pairs in folders and parquet files: read lazily, or refused in one clear line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline
from PIL import Image

from deradiff import DPOSettings
from deradiff.dpo import DPOStep, PreferenceFolder, PreferencePair, PreferenceParquet, train

COLUMNS = ("caption", "jpg_0_file_name", "jpg_1_file_name", "label_0")
LABELS = (1, 0, 0.5, 1, 0)
# (prompt, colour of the preferred image, colour of the rejected one): row 3 is a tie.
EXPECTED = [("p0", 0, 100), ("p1", 101, 1), ("p3", 3, 103), ("p4", 104, 4)]


def image(colour: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new("RGB", size, (colour, 0, 0))


def encoded(colour: int, size: tuple[int, int] = (16, 16)) -> bytes:
    buffer = BytesIO()
    image(colour, size).save(buffer, "PNG")
    return buffer.getvalue()


def described(pairs: PreferenceFolder | PreferenceParquet) -> list[tuple[str, int, int]]:
    read = [pairs[i] for i in range(len(pairs))]
    return [(p.prompt, p.preferred.getpixel((0, 0))[0], p.rejected.getpixel((0, 0))[0])
            for p in read]  # fmt: skip


def write_folder(folder: Path, rows: Sequence[dict[str, Any]], *, form: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for k in range(len(LABELS)):
        image(k).save(folder / "images" / f"{k}a.png")
        image(100 + k).save(folder / "images" / f"{k}b.png")
    path = folder / f"metadata.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def folder_rows() -> list[dict[str, Any]]:
    names = [(f"p{k}", f"images/{k}a.png", f"images/{k}b.png") for k in range(len(LABELS))]
    rows = [(*name, label) for name, label in zip(names, LABELS, strict=True)]
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def write_parquet(path: Path, columns: dict[str, list[Any]], *, row_group_size: int = 2) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path, row_group_size=row_group_size)
    return path


def parquet_columns(count: int = len(LABELS)) -> dict[str, list[Any]]:
    return {
        "caption": [f"p{k}" for k in range(count)],
        "jpg_0": [encoded(k) for k in range(count)],
        "jpg_1": [encoded(100 + k) for k in range(count)],
        "label_0": [float(LABELS[k % len(LABELS)]) for k in range(count)],
    }


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_folder_holds_the_pairs_that_are_no_ties(tmp_path: Path, form: str) -> None:
    pairs = PreferenceFolder(write_folder(tmp_path / "data", folder_rows(), form=form))
    assert described(pairs) == EXPECTED
    assert pairs[-1].prompt == "p4"
    with pytest.raises(IndexError):
        pairs[4]


def test_a_parquet_file_holds_the_pairs_that_are_no_ties(tmp_path: Path) -> None:
    assert described(PreferenceParquet(write_parquet(tmp_path / "a.parquet", parquet_columns()))) \
        == EXPECTED  # fmt: skip


def test_parquet_files_of_a_folder_follow_one_another(tmp_path: Path) -> None:
    files = [write_parquet(tmp_path / f"{k}.parquet", parquet_columns()) for k in range(2)]
    assert described(PreferenceParquet(tmp_path)) == EXPECTED * 2
    assert described(PreferenceParquet(files[:1])) == EXPECTED


def test_parquet_reads_the_other_columns_of_pick_a_pic_and_images_of_datasets(
    tmp_path: Path,
) -> None:
    columns = parquet_columns()
    columns["has_label"] = [True, False, True, True, True]
    columns["jpg_0"] = [{"bytes": cell, "path": None} for cell in columns["jpg_0"]]
    pairs = PreferenceParquet(write_parquet(tmp_path / "a.parquet", columns))
    assert described(pairs) == [EXPECTED[0], *EXPECTED[2:]]


def test_images_are_cropped_about_their_centre_to_the_resolution(tmp_path: Path) -> None:
    wide = Image.new("RGB", (48, 16), (255, 0, 0))
    wide.paste((0, 0, 255), (16, 0, 32, 16))
    buffer = BytesIO()
    wide.save(buffer, "PNG")
    columns = parquet_columns(1) | {"jpg_0": [buffer.getvalue()]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    pair = PreferenceParquet(path, resolution=8)[0]
    assert pair.preferred.size == pair.rejected.size == (8, 8)
    assert pair.preferred.getpixel((4, 4)) == (0, 0, 255)
    with pytest.raises(ValueError, match=r"a\.parquet: row 1: .*48x16 and 16x16.*a resolution"):
        PreferenceParquet(path)[0]


def test_an_epoch_reads_every_row_group_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pair comes once, in another order each time, and few row groups are held at a time."""
    from deradiff.dpo import parquet

    pairs = PreferenceParquet(
        write_parquet(tmp_path / "a.parquet", parquet_columns(100), row_group_size=5)
    )
    assert len(pairs) == 80
    read: list[Any] = []
    original: Callable[..., Any] = parquet._read_group
    monkeypatch.setattr(
        parquet, "_read_group", lambda group: (read.append(group), original(group))[1]
    )
    pairs = PreferenceParquet(tmp_path / "a.parquet")
    orders = [pairs.shuffled_indices(np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(80))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    assert (np.abs(np.diff(orders[0])) > 4).mean() > 0.5  # neighbours are of other row groups
    for index in orders[0]:
        pairs[int(index)]
    assert len(read) == len(set(read)) == 20


def test_a_training_from_files_is_that_from_the_same_pairs_in_memory(
    tmp_path: Path, sd15: DiffusionPipeline
) -> None:
    pairs = PreferenceFolder(write_folder(tmp_path / "data", folder_rows(), form="csv"))
    chosen = DPOSettings(
        beta=50.0, learning_rate=1e-3, batch_size=2, accumulation=1, steps=5, warmup=0
    )
    losses: list[list[float]] = []
    for name, given in (("files", pairs), ("memory", [pairs[i] for i in range(len(pairs))])):
        steps: list[DPOStep] = []
        train(sd15, given, chosen, output=tmp_path / name, progress=steps.append)
        losses.append([step.loss for step in steps])
    assert losses[0] == losses[1]


def test_a_training_from_parquet_runs(tmp_path: Path, sd15: DiffusionPipeline) -> None:
    pairs = PreferenceParquet(write_parquet(tmp_path / "a.parquet", parquet_columns(40)))
    chosen = DPOSettings(
        beta=500.0, learning_rate=3e-3, batch_size=8, accumulation=1, steps=4, warmup=0
    )
    steps: list[DPOStep] = []
    train(sd15, pairs, chosen, output=tmp_path / "anchor", progress=steps.append)
    assert all(np.isfinite(step.loss) for step in steps)


def test_images_of_several_sizes_in_a_batch_are_refused(
    tmp_path: Path, sd15: DiffusionPipeline
) -> None:
    pairs = [PreferencePair("red", image(1, size), image(2, size)) for size in ((16, 16), (32, 16))]
    chosen = DPOSettings(beta=50.0, batch_size=2, accumulation=1, steps=1)
    with pytest.raises(ValueError, match="16x16, 32x16 pixels, expected one size"):
        train(sd15, pairs, chosen, output=tmp_path)


def broken_rows() -> Iterator[tuple[str, dict[str, Any], str]]:
    yield "label", {"label_0": "left"}, "row 2: label_0 is 'left', expected 1, 0, or 0.5"
    yield "empty label", {"label_0": ""}, "row 2: label_0 is ''"
    yield "number", {"label_0": 0.7}, "row 2: label_0 is .*0.7.*, expected 1, 0, or 0.5"
    yield (
        "file",
        {"jpg_1_file_name": "images/9b.png"},
        "row 2: expected a file .*no 'images/9b.png'",
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(("name", "change", "message"), list(broken_rows()))
def test_a_broken_row_of_a_folder_is_named(
    tmp_path: Path, form: str, name: str, change: dict[str, Any], message: str
) -> None:
    rows = folder_rows()
    rows[1] |= change
    folder = write_folder(tmp_path / "data", rows, form=form)
    with pytest.raises(ValueError, match=rf"metadata\.{form}: {message}") as error:
        PreferenceFolder(folder)
    assert "\n" not in str(error.value)


def test_a_folder_without_right_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected metadata\.csv or metadata\.jsonl, found nei"):
        PreferenceFolder(tmp_path)
    rows = [{name: row[name] for name in COLUMNS[:3]} for row in folder_rows()]
    with pytest.raises(ValueError, match=r"row 1: no column label_0, expected caption, jpg_0_fi"):
        PreferenceFolder(write_folder(tmp_path / "data", rows, form="csv"))
    (tmp_path / "data" / "metadata.jsonl").write_text("{}")
    with pytest.raises(ValueError, match=r"found metadata\.csv and metadata\.jsonl"):
        PreferenceFolder(tmp_path / "data")
    (tmp_path / "data" / "metadata.csv").unlink()
    for text, message in (("{", r"row 1: expected JSON \("), ("[1]\n", "expected a JSON object")):
        (tmp_path / "data" / "metadata.jsonl").write_text(text)
        with pytest.raises(ValueError, match=message):
            PreferenceFolder(tmp_path / "data")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", folder_rows(), form="csv")
    (folder / "images" / "1a.png").write_bytes(b"no image")
    pairs = PreferenceFolder(folder)
    assert pairs[0].prompt == "p0"
    with pytest.raises(ValueError, match=r"metadata\.csv: row 2: expected an image.*1a\.png"):
        pairs[1]


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    for change, message in (
        ({"label_0": [1.0, 0.0, None, 1.0, 0.0]}, "row 3: label_0 is None"),
        ({"label_0": [1.0, 0.0, 0.5, 2.0, 0.0]}, "row 4: label_0 is 2.0"),
    ):
        path = write_parquet(tmp_path / "a.parquet", parquet_columns() | change)
        with pytest.raises(ValueError, match=rf"a\.parquet: {message}, expected 1, 0, or 0.5"):
            PreferenceParquet(path)
    for change, message in (
        ({"jpg_0": ["text"] * 5}, "row 5: jpg_0: expected an encoded image, found str"),
        ({"jpg_0": [b"no image"] * 5}, "row 5: expected an image, cannot read 8 bytes"),
        ({"caption": [None] * 5}, "row 5: the caption is None, expected a text"),
    ):
        path = write_parquet(tmp_path / "a.parquet", parquet_columns() | change)
        with pytest.raises(ValueError, match=rf"a\.parquet: {message}"):
            PreferenceParquet(path)[3]


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    columns = parquet_columns()
    del columns["jpg_1"]
    path = write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(ValueError, match=r"a\.parquet: no column jpg_1, expected caption"):
        PreferenceParquet(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: expected a parquet file"):
        PreferenceParquet(path)
    for source in (tmp_path / "none", tmp_path / "empty", []):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="expected a parquet file or a folder of them"):
            PreferenceParquet(source)


def test_images_keep_their_size_without_a_resolution(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        parquet_columns(1) | {f"jpg_{k}": [encoded(k, (24, 8))] for k in (0, 1)},
    )
    assert PreferenceParquet(path)[0].preferred.size == (24, 8)
