"""People's λ* beside the reward's: in the summary, its notes, the table and the page's words."""

from __future__ import annotations

from itertools import combinations

import pytest

from lamsearch.report.html.curves import curve_plot
from lamsearch.report.html.plots import WIDE
from lamsearch.report.html.words import answer_sentences
from lamsearch.report.summarize import summarize
from lamsearch.report.summary import Summary
from lamsearch.report.table import people_line
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.votes import vote_key
from studies import begin


def voted(choice: str, *, votes: int, beta: float | None = 500.0) -> Summary:
    """Return the answer of a sharp curve with its best λ near 0.6, and votes of one kind."""
    study = Study.create("s", None)
    study.bind({"seed": 0, "bounds": [0.0, 1.0], "beta": beta})
    for _ in range(6):
        evaluation = begin(study, 6)
        assert evaluation is not None
        scores = [0.01 * i - (evaluation.lam - 0.6) ** 2 for i in range(8)]
        study.record(evaluation, Batch(range(8), scores, 0.5, {}, 8))
        study.finish(evaluation)
    pairs = list(combinations((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), 2))
    for number in range(votes):
        left, right = pairs[number % len(pairs)]
        vote = {"left": left, "right": right, "choice": choice, "rater": "a", "time": f"{number}"}
        study.remember(vote_key(f"{number}"), {"image_id": 0, **vote})
    return summarize(study)


def codes(summary: Summary) -> set[str]:
    return {note.code for note in summary.notes}


def test_without_votes_there_is_no_people() -> None:
    summary = voted("left", votes=0)
    assert summary.people is None
    assert summary.to_json()["people"] is None
    assert "people" not in codes(summary)
    assert not any("People" in sentence for sentence in answer_sentences(summary))


@pytest.mark.parametrize(("choice", "direction"), [("left", "less"), ("right", "more")])
def test_people_who_disagree_with_the_reward_are_noted(choice: str, direction: str) -> None:
    summary = voted(choice, votes=60)
    assert summary.people is not None
    assert summary.people.lam == pytest.approx(0.0 if choice == "left" else 1.0, abs=0.1)
    (note,) = [note for note in summary.notes if note.code == "people"]
    assert note.text.startswith(f"people prefer {direction} alignment than the reward")
    assert summary.to_json()["people"]["lam"] == summary.people.lam
    assert any("(60 votes)" in sentence for sentence in answer_sentences(summary))


def test_people_who_cannot_tell_do_not_disagree() -> None:
    summary = voted("tie", votes=10, beta=None)
    assert summary.people is not None
    assert (summary.people.ties, summary.people.effective_beta) == (10, None)
    assert "people" not in codes(summary)
    assert people_line(summary.people, 3).endswith("(10 votes of 1 rater, 10 ties)")
    assert "β" not in people_line(summary.people, 3)


def test_their_utility_is_a_panel_of_the_page() -> None:
    plots = [curve_plot(voted("right", votes=votes), WIDE) for votes in (0, 40)]
    assert [len(plot.panels) for plot in plots] == [1, 2]
    panel = plots[1].panels[-1]
    assert panel.label == "people, log-odds against λ = 0"
    assert panel.rules[0].at > plots[0].panels[0].rules[0].at  # they like more than the reward does
    assert not panel.points
