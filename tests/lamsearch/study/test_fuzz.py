"""Batches, databases and import files that are damaged: read, or one line of ours."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lamsearch
from fuzzing import VALUES, mutated_bytes, mutated_json, mutations
from lamsearch.commands.studies import advice_on
from lamsearch.errors import LamsearchError
from lamsearch.report.costs import CostsConfig
from lamsearch.report.listing import list_studies
from lamsearch.report.study_page import study_page
from lamsearch.report.summarize import summarize
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.lines import read_lines
from lamsearch.study.transfer import export_study, import_studies

INPUTS = 10_000
LONGEST_LINE = 2000


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a study with a few evaluations, another reward and a constraint."""
    file = tmp_path_factory.mktemp("good") / "s.db"

    def scores(lam: float) -> dict[str, list[float]]:
        return {"score": [lam, 1 - lam, 0.5 * lam], "other": [1.0, 2.0, float("nan")]}

    lamsearch.search(
        scores,
        beta=500,
        budget=3,
        study="s",
        storage=f"sqlite:///{file}",
        constraint="other >= reference",
    )
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = DELETE")  # a copy is one file then
    connection.close()
    return file


def fails_well(read: Callable[[], object]) -> bool:
    """Return whether it raised an error of ours, of one line, and let pass nothing else."""
    try:
        read()
    except LamsearchError as error:
        message = str(error)
    else:
        return False
    assert "\n" not in message
    assert len(message) <= LONGEST_LINE
    return True


def test_batches() -> None:
    rng = random.Random(0)
    statistics = {"sharpness": [0.4, float("nan"), 0.6]}
    whole = Batch(
        [0, 1, 3], [0.5, float("nan"), 2.0], 1.5, {"clip": [0.1, 0.2, 0.3]}, 64, statistics
    ).to_json()
    read = 0
    for _ in range(INPUTS):
        value = mutated_json(mutated_json(whole, rng), rng)
        try:
            batch = Batch.from_json(value)
        except ValueError:
            continue
        read += 1
        assert batch.is_finite
        assert len(batch.scores) == len(batch.image_ids) == len(set(batch.image_ids))
        json.dumps(batch.to_json(), allow_nan=False)
    assert 0 < read < INPUTS


def test_import_files(good: Path, tmp_path: Path) -> None:
    lines = list(export_study(Study.open("s", f"sqlite:///{good}")))[:2]
    file, rng = tmp_path / "s.jsonl", random.Random(0)
    texts = mutations(["\n".join(lines) + "\n"], INPUTS // 2)
    failed = 0
    for text in texts:
        file.write_text(text, newline="")
        failed += fails_well(partial(read_lines, file))
    for _ in range(INPUTS // 2):
        place = rng.randrange(len(lines))
        changed = json.dumps(mutated_json(json.loads(lines[place]), rng))
        file.write_text("\n".join([*lines[:place], changed, *lines[place + 1 :]]))
        failed += fails_well(partial(read_lines, file))
    assert 0 < failed < INPUTS


def test_what_can_be_read_of_an_import_file_can_be_stored_or_is_refused(
    good: Path, tmp_path: Path
) -> None:
    lines = list(export_study(Study.open("s", f"sqlite:///{good}")))
    file, rng = tmp_path / "s.jsonl", random.Random(1)
    imported = 0
    for number in range(60):
        place = rng.randrange(len(lines))
        changed = json.dumps(mutated_json(json.loads(lines[place]), rng))
        file.write_text("\n".join([*lines[:place], changed, *lines[place + 1 :]]))
        storage = f"sqlite:///{tmp_path}/{number}.db"
        if not fails_well(partial(import_studies, file, storage)):
            imported += 1
            fails_well(partial(show, storage))
    assert imported > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_rows_of_a_database(good: Path, tmp_path: Path, part: int) -> None:
    damaged(good, tmp_path, inputs=40, seed=part)


@pytest.mark.long
def test_many_rows_of_a_database(good: Path, tmp_path: Path) -> None:
    damaged(good, tmp_path, inputs=INPUTS, seed=100)


def damaged(good: Path, folder: Path, *, inputs: int, seed: int) -> None:
    """Show databases whose bytes are flipped, or whose cells hold values of other types."""
    rng, cells, failed = random.Random(seed), list(all_cells(good)), 0
    for number in range(inputs):
        file = folder / f"{number}.db"  # another one each time: SQLite keeps what it has open
        if number % 2:
            file.write_bytes(mutated_bytes(good.read_bytes(), rng))
        else:
            shutil.copyfile(good, file)
            change_cells(file, rng.choices(cells, k=rng.randint(1, 2)), rng)
        failed += fails_well(partial(show, f"sqlite:///{file}"))
        for each in folder.glob(f"{number}.db*"):
            each.unlink()
    assert failed > 0


def show(storage: str) -> None:
    list_studies(storage)
    for name in Study.names(storage):
        study = Study.open(name, storage)
        study.history()
        json.dumps(summarize(study).to_json(), allow_nan=False)
        study_page(study)
        json.dumps(advice_on(study, summarize(study), CostsConfig()).to_json(), allow_nan=False)
        list(export_study(study))


def all_cells(file: Path) -> Iterator[tuple[str, str, int]]:
    with sqlite3.connect(file) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            found = connection.execute(f"SELECT rowid, * FROM {table}")
            columns = [each[0] for each in found.description[1:]]
            for row in found.fetchall():
                yield from ((table, column, row[0]) for column in columns)
    connection.close()


def change_cells(file: Path, cells: list[tuple[str, str, int]], rng: random.Random) -> None:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for table, column, row in cells:
        query = f"SELECT {column} FROM {table} WHERE rowid = ?"
        (old,) = connection.execute(query, (row,)).fetchone() or (None,)
        try:
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (other(old, rng), row)
            )
        except (sqlite3.IntegrityError, OverflowError):  # a key that must be unique
            continue
    connection.commit()
    connection.close()


def other(old: Any, rng: random.Random) -> Any:
    """Return another value for a cell, of any type; JSON as changed JSON."""
    kind = rng.randrange(4)
    if kind == 0 and isinstance(old, str) and old[:1] in "{[":
        return json.dumps(mutated_json(json.loads(old), rng))
    if kind == 1 and isinstance(old, str):
        return next(mutations([old], 1))
    value = rng.choice(VALUES)
    if kind == 2:
        return json.dumps(value)
    if isinstance(value, int) and abs(value) >= 2**63:
        return str(value)
    return value if isinstance(value, int | float | str | None) else rng.randbytes(8)
