"""Votes as facts of a study: stored at once, never lost, moved with it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lamsearch.errors import StudyError
from lamsearch.study.database import Study
from lamsearch.study.transfer import export_study, import_studies
from lamsearch.study.votes import Vote, stored_votes, vote_key

GIVEN = {
    "rater": "Ada <b>",
    "image_id": 2,
    "left": 1.0,
    "right": 0.25,
    "choice": "right",
    "time": "2026-11-26T12:00:00.000+00:00",
}


def test_a_vote_is_read_back() -> None:
    vote = Vote.from_json(GIVEN)
    assert vote.to_json() == GIVEN
    assert vote.pair == (0.25, 1.0)
    assert vote.preferred == 0.25
    assert Vote.from_json({**GIVEN, "choice": "tie"}).preferred is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": -1}, "on image -1"),
        ({"image_id": True}, "on image True"),
        ({"left": "0.5"}, "'0.5'"),
        ({"left": float("nan")}, "nan"),
        ({"left": 0.25}, "with itself"),
        ({"choice": "both"}, "'both'"),
        ({"choice": ["left"]}, "left"),
        ({"rater": None}, "no rater"),
    ],
)
def test_a_damaged_vote_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vote.from_json({**GIVEN, **change})
    with pytest.raises(ValueError, match="expected a table"):
        Vote.from_json([GIVEN])


def test_a_study_with_a_damaged_vote_says_so(tmp_path: Path) -> None:
    study = Study.create("s", f"sqlite:///{tmp_path}/s.db")
    study.remember(vote_key("x"), {**GIVEN, "choice": 3})
    with pytest.raises(StudyError, match=r"study 's' .* is damaged \(a vote chose 3\)"):
        study.votes()


def test_votes_are_in_the_order_of_their_times() -> None:
    late, early = GIVEN, {**GIVEN, "time": "2026-11-25T12:00:00.000+00:00"}
    facts = {vote_key("a"): late, vote_key("b"): early, "manifest": {}}
    assert [vote.time for vote in stored_votes(facts)] == [early["time"], late["time"]]


def test_workers_that_vote_at_once_lose_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    Study.create("s", url)

    def vote(worker: int) -> None:
        study = Study.create("s", url)
        for number in range(10):
            value = {**GIVEN, "rater": f"{worker}", "image_id": number}
            study.remember(vote_key(f"{worker}-{number}"), value)

    threads = [threading.Thread(target=vote, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    votes = Study.open("s", url).votes()
    assert sorted((vote.rater, vote.image_id) for vote in votes) == [
        (f"{worker}", number) for worker in range(3) for number in range(10)
    ]


def test_export_and_import_carry_votes_and_add_new_ones(tmp_path: Path) -> None:
    one, two = (f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "two"))
    study, file = Study.create("s", one), tmp_path / "s.jsonl"
    study.remember(vote_key("a"), GIVEN)
    for number in range(2):
        file.write_text("".join(f"{line}\n" for line in export_study(study)))
        import_studies(file, two)
        assert Study.open("s", two).votes() == study.votes()
        study.remember(vote_key(f"{number}"), {**GIVEN, "image_id": number})
