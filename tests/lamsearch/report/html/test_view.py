from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import lamsearch
from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.html.pictures import Picture
from lamsearch.report.html.view import ReportView, StudyFacts, report_view
from lamsearch.report.html.words import answer_sentences, note_text
from lamsearch.report.summary import Note

PICTURE = Picture("data:image/webp;base64,", 32, 32)


@pytest.fixture(scope="module")
def summary() -> lamsearch.Summary:
    base = np.random.default_rng(0).normal(scale=0.05, size=40)

    def evaluate(lam: float) -> dict[str, np.ndarray]:
        noise = np.random.default_rng(round(1e6 * lam)).normal(scale=0.002, size=40)
        return {"score": base - 0.1 * (lam - 0.6) ** 2 + noise, "clip": base - 0.02 * lam}

    return lamsearch.search(evaluate, beta=500, budget=6)


def view(summary: lamsearch.Summary, **given: object) -> ReportView:
    lams = [evaluation.lam for evaluation in summary.evaluations]
    facts = {
        "manifest": {"beta": 500.0, "versions": {"torch": "2"}, "empty": None},
        "prompts": ["one", "two"],
        "pictures": {lam: [PICTURE, PICTURE] for lam in lams},
        "scores": {lam: {0: 0.5 + lam, 1: float("nan")} for lam in lams},
        "command": ["lamsearch", "run", "--reward", "a + b"],
        "version": "1.2.3",
    }
    return report_view(summary, StudyFacts(**{**facts, **given}))


def test_the_first_screen_has_the_answer_and_every_note(summary: lamsearch.Summary) -> None:
    found = view(summary)
    names = [fact.name for fact in found.headline]
    assert names == ["λ*", "β/λ*", "mean score at λ*"]
    assert found.headline[0].value == f"{summary.lam:.3f}"
    assert len(found.notes) == len(summary.notes)
    text = " ".join(found.sentences)
    for part in ("highest at λ*", "β/λ*", "the reference", "the aligned model", "under the model"):
        assert part in text


@pytest.mark.parametrize(
    ("gain", "sentence"),
    [
        (Gain(0.05, 0.01, (0.03, 0.07)), "λ* beats the reference (λ = 0) by"),
        (Gain(-0.05, 0.01, (-0.07, -0.03)), "λ* is worse than the reference (λ = 0) by"),
        (Gain(0.01, 0.01, (-0.01, 0.03)), "λ* cannot be told from the reference (λ = 0): +0.0"),
    ],
)
def test_a_gain_is_called_one_only_if_its_interval_is_above_0(
    summary: lamsearch.Summary, gain: Gain, sentence: str
) -> None:
    changed = dataclasses.replace(summary, gain_over_reference=gain)
    assert any(text.startswith(sentence) for text in answer_sentences(changed))


def test_notes_are_sentences_and_names_stay_as_they_are() -> None:
    assert note_text(Note("image_noise", "limited by noise")) == "Limited by noise."
    assert note_text(Note("tracked_falls", "clip falls; hacking?")) == "clip falls; hacking?"
    assert note_text(Note("agreement", "β/λ by 'x': 5 % off")) == "β/λ by 'x': 5\u00a0% off."


def test_the_slider_has_every_evaluated_lam_once_and_begins_at_the_answer(
    summary: lamsearch.Summary,
) -> None:
    gallery = view(summary).gallery
    lams = [frame.lam for frame in gallery.frames]
    assert lams == sorted({evaluation.lam for evaluation in summary.evaluations})
    assert lams[gallery.before] == 0.0
    assert abs(lams[gallery.after] - summary.lam) == min(abs(lam - summary.lam) for lam in lams)
    assert [jump.label for jump in gallery.jumps] == ["λ = 0, reference", "λ*", "λ = 1, aligned"]


def test_a_caption_has_the_score_and_its_paired_change(summary: lamsearch.Summary) -> None:
    gallery = view(summary).gallery
    lam = gallery.frames[gallery.after].lam
    first, second = gallery.images
    assert gallery.caption(first).startswith(f"score {0.5 + lam:.{gallery.places}f}, +")
    assert gallery.caption(first).endswith("against λ\u00a0=\u00a00")
    assert gallery.caption(second) == "not scored"


def test_images_kept_at_one_lam_only_are_left_out(summary: lamsearch.Summary) -> None:
    lams = [evaluation.lam for evaluation in summary.evaluations]
    pictures = {lam: [PICTURE, PICTURE if lam == lams[0] else None] for lam in lams}
    assert len(view(summary, pictures=pictures).gallery.images) == 1
    assert view(summary, pictures={}).gallery.images == ()


def test_prompts_that_an_old_study_lacks_are_empty(summary: lamsearch.Summary) -> None:
    assert [shown.prompt for shown in view(summary, prompts=[]).gallery.images] == ["", ""]


def test_the_table_has_a_row_per_evaluation_and_keys_to_sort_by(
    summary: lamsearch.Summary,
) -> None:
    table = view(summary).evaluations
    assert table.header[:3] == ("λ", "β/λ", "mean score")
    keys = [row[0].key for row in table.rows]
    assert keys == sorted(evaluation.lam for evaluation in summary.evaluations)
    assert table.rows[0][1].key is None  # β/λ is infinite there: sorted last
    assert abs(keys[table.marked] - summary.lam) == min(abs(key - summary.lam) for key in keys)


def test_commands_are_quoted_and_versions_are_complete(summary: lamsearch.Summary) -> None:
    found = view(summary)
    assert found.command == "lamsearch run --reward 'a + b'"
    assert {fact.name: fact.value for fact in found.versions} == {
        "torch": "2",
        "lamsearch (this page)": "1.2.3",
    }
    assert [fact.name for fact in found.manifest] == ["beta"]
    assert "version = {1.2.3}" in found.citation


def test_bounds_without_the_reference_offer_no_jump_to_it() -> None:
    found = view(lamsearch.search(lambda lam: lam, budget=2, bounds=(0.25, 0.75)))
    assert [jump.label for jump in found.gallery.jumps] == ["λ*"]
    assert found.evaluations.header[:2] == ("λ", "mean score")
