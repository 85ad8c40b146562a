"""Studies that go through a file, and files that are not what they should be."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution, distribution_to_json
from sqlalchemy import create_engine, text

from lamsearch.errors import LamsearchError, SettingsError, StudyError
from lamsearch.report.summarize import summarize
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.lines import read_lines
from lamsearch.study.transfer import export_study, import_studies, write_lines
from studies import begin

EFFECTS = np.random.default_rng(5).normal(size=8)


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, str]:
    return f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"


def score(study: Study, evaluations: int, *, leave: bool = False) -> None:
    """Score evaluations of 8 images in two batches each; leave a last one after its first."""
    for number in range(evaluations + leave):
        evaluation = begin(study, evaluations + 1)
        assert evaluation is not None
        for ids in (range(4), range(4, 8)):
            scores = EFFECTS[ids] - (evaluation.lam - 0.6) ** 2
            scores[0] = math.nan if number == 1 else scores[0]
            tracked = {"clip": (0.1 * scores).tolist()}
            study.record(evaluation, Batch(ids, scores.tolist(), 0.5, tracked, 8))
            if number == evaluations:
                study.release(evaluation)
                return
        study.finish(evaluation)


def searched(url: str, **how: bool) -> Study:
    study = Study.create("s", url)
    study.bind({"seed": 0, "bounds": [0.0, 1.0], "beta": 500.0})
    score(study, 5, **how)
    confirmation = study.beside("s confirmed at 0.5", (0.0, 1.0))
    confirmation.bind({"confirms": "s", "lams": [0.0, 0.5]})
    score(confirmation, 2)
    Study.create("another", url).bind({"seed": 1})
    return study


def write(study: Study, file: Path) -> Path:
    file.write_text("".join(f"{line}\n" for line in export_study(study)))
    return file


def test_a_study_goes_through_a_file_unchanged(urls: tuple[str, str], tmp_path: Path) -> None:
    before = searched(urls[0], leave=True)
    file = write(Study.open("s", urls[0]), tmp_path / "s.jsonl")
    assert import_studies(file, urls[1]) == ["s", "s confirmed at 0.5"]
    assert Study.names(urls[1]) == ["s", "s confirmed at 0.5"]
    after = Study.open("s", urls[1])
    assert repr(after.history()) == repr(before.history())
    assert after.manifest == before.manifest
    assert summarize(after).to_json() | {"storage": ""} == summarize(before).to_json() | {
        "storage": ""
    }
    assert write(after, tmp_path / "again.jsonl").read_text() == file.read_text()


def test_a_moved_study_goes_on_where_it_was(urls: tuple[str, str], tmp_path: Path) -> None:
    before = searched(urls[0], leave=True)
    import_studies(write(before, tmp_path / "s.jsonl"), urls[1])
    after = Study.create("s", urls[1])
    for study in (before, after):
        resumed = begin(study, 6)
        assert resumed is not None
        assert sorted(resumed.scores) == [0, 1, 2, 3]
        study.record(resumed, Batch(range(4, 8), [0.1] * 4, plan_size=8))
        study.finish(resumed)
    assert begin(before, 8) == begin(after, 8)


def test_what_a_study_lacks_is_added_and_nothing_else(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    study = searched(urls[0], leave=True)
    early = write(study, tmp_path / "early.jsonl")
    (running,) = study.history().running
    resumed = begin(study, 6)
    assert resumed is not None
    assert resumed.number == running.number
    study.record(resumed, Batch(range(4, 8), [0.1] * 4, plan_size=8))
    study.finish(resumed)
    late = write(study, tmp_path / "late.jsonl")
    for file in (early, late, early, late):
        import_studies(file, urls[1])
    assert repr(Study.open("s", urls[1]).history()) == repr(study.history())


def test_another_study_of_the_name_is_refused(urls: tuple[str, str], tmp_path: Path) -> None:
    file = write(searched(urls[0]), tmp_path / "s.jsonl")
    other = Study.create("s", urls[1])
    other.bind({"seed": 7, "bounds": [0.0, 1.0], "beta": 500.0})
    with pytest.raises(StudyError, match="seed was 7, is 0"):
        import_studies(file, urls[1])
    assert other.history().evaluations == ()


def test_a_study_that_a_worker_is_at_is_left_alone(urls: tuple[str, str], tmp_path: Path) -> None:
    study = searched(urls[0], leave=True)
    assert begin(study, 6) is not None
    with pytest.raises(StudyError, match="a worker is at study 's': stop it"):
        import_studies(write(study, tmp_path / "s.jsonl"), urls[0])


def test_files_of_something_else_are_one_line(urls: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    for given in ("", "\n", "{}", "[", "nonsense", '{"lamsearch_study": 2}', "[" * 9999, "null"):
        file.write_text(given)
        with pytest.raises(StudyError, match=r"x\.jsonl.*expected a file that lamsearch export"):
            import_studies(file, urls[0])
    file.write_bytes(b"\xff\xfe")
    for each, problem in (
        (file, "not UTF-8 at byte 0"),
        (tmp_path, "is a folder"),
        (tmp_path / "absent", "cannot be read: No such file"),
    ):
        with pytest.raises(StudyError, match=f"^{re.escape(str(each))}: {problem}"):
            import_studies(each, urls[0])
    assert not (tmp_path / "one.db").exists()


def damage(value: object, random: random.Random) -> object:
    """Return a JSON value with one part replaced by another kind of value."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice(list(value))
        return {**value, key: damage(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        return [*value[:place], damage(value[place], random), *value[place + 1 :]]
    strange = [
        None,
        -1,
        1.5,
        10**30,
        1e308,
        math.nan,
        math.inf,
        "x",
        "",
        [],
        {},
        True,
        [[]],
        "\ud800",
    ]
    return random.choice(strange)


def test_damaged_lines_are_one_line_or_do_no_harm(urls: tuple[str, str], tmp_path: Path) -> None:
    lines = write(searched(urls[0], leave=True), tmp_path / "s.jsonl").read_text().splitlines()
    generator, file, refused = random.Random(0), tmp_path / "x.jsonl", []
    for _ in range(10_000 // 20):
        place = generator.randrange(len(lines))
        damaged = json.dumps(damage(json.loads(lines[place]), generator))
        file.write_text("\n".join([*lines[:place], damaged, *lines[place + 1 :]]))
        try:
            read_lines(file)
        except LamsearchError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in each for each in refused)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [*lines[:3], *lines[4:]], "line 4: trial 3 given, expected 2"),
        (lambda lines: replaced(lines, 1, trial=-1), "line 2: trial -1 given, expected a number"),
        (lambda lines: replaced(lines, 1, trial="0"), "line 2: trial '0' given, expected a number"),
        (lambda lines: replaced(lines, 1, value=10**400), "line 2: "),
        (
            lambda lines: replaced(lines, 2, ranges={"lam": WHOLE_NUMBERS}),
            "line 3: .*different distribution kind",
        ),
        (lambda lines: replaced(lines, 0, name="\ud800"), "line 1: .*surrogates not allowed"),
        (
            lambda lines: replaced(lines, 0, facts={"vote:x": {**VOTE, "left": 10**400}}),
            "line 1: a vote compares λ 1000",
        ),
    ],
)
def test_nothing_of_a_damaged_file_is_imported(
    change: Any, problem: str, urls: tuple[str, str], tmp_path: Path
) -> None:
    lines = write(searched(urls[0]), tmp_path / "s.jsonl").read_text().splitlines()
    file = tmp_path / "x.jsonl"
    file.write_text("\n".join(change(lines)))
    with pytest.raises(StudyError, match=problem):
        import_studies(file, urls[1])
    assert not (tmp_path / "two.db").exists()


WHOLE_NUMBERS = distribution_to_json(IntDistribution(0, 1))
VOTE = {"rater": "a", "image_id": 0, "left": 0.0, "right": 1.0, "choice": "left", "time": ""}


def replaced(lines: list[str], place: int, **values: Any) -> list[str]:
    changed = json.dumps({**json.loads(lines[place]), **values})
    return [*lines[:place], changed, *lines[place + 1 :]]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "a line"
        raise StudyError("damaged")

    file = tmp_path / "s.jsonl"
    with pytest.raises(StudyError, match="damaged"):
        write_lines(broken(), file)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match="cannot write"):
        write_lines(["a line"], tmp_path / "folder")
    assert write_lines(["a line"], file) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "s.jsonl"]
    assert file.stat().st_mode == (tmp_path / "folder").stat().st_mode & 0o666 | 0o100000


def store(url: str, key: str, value: str | None) -> None:
    """Replace the JSON of an attribute of trial 2 in the database, or remove it."""
    place = "trial_user_attributes", "WHERE trial_id = 3 AND key = :key"
    with create_engine(url).begin() as connection:
        if value is None:
            connection.execute(text(f"DELETE FROM {place[0]} {place[1]}"), {"key": key})
        else:
            change = f"UPDATE {place[0]} SET value_json = :value {place[1]}"
            connection.execute(text(change), {"key": key, "value": value})


def test_damaged_rows_of_a_database_are_one_line(urls: tuple[str, str]) -> None:
    searched(urls[0])
    generator, said = random.Random(1), []
    whole = optuna.load_study(study_name="s", storage=urls[0]).trials[2].user_attrs
    for number in range(60):
        key = generator.choice(list(whole))
        damaged = json.dumps(damage(whole[key], generator))
        store(urls[0], key, damaged[: len(damaged) // 2] if number % 5 == 0 else damaged)
        try:
            Study.open("s", urls[0]).history()
        except StudyError as error:
            said.append(str(error))
        store(urls[0], key, json.dumps(whole[key]))
    assert len(said) > 20
    assert all("study 's'" in each and "\n" not in each for each in said)


@pytest.mark.parametrize("lost", ["scores:000000", "scores:000004"])
def test_a_lost_batch_is_missed(urls: tuple[str, str], lost: str) -> None:
    searched(urls[0])
    store(urls[0], lost, None)
    with pytest.raises(StudyError, match=r"is damaged \(4 of 8 scores are there\)"):
        Study.open("s", urls[0]).history()
