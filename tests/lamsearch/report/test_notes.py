"""Caveats are data of the summary, and every output carries them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import lamsearch
from lamsearch import Summary

EFFECTS = np.cos(np.arange(40.0))


def codes(summary: Summary) -> list[str]:
    return [note.code for note in summary.notes]


def rising(lam: float) -> np.ndarray:
    return lam + 0.1 * EFFECTS * (1 + 0.05 * lam)


def test_an_answer_at_a_bound_names_wider_bounds(shown: Callable[[Summary], str]) -> None:
    result = lamsearch.search(rising, budget=6)
    assert result.lam == 1.0
    assert codes(result)[0] == "bound"
    text = result.notes[0].text
    assert "upper bound 1, where the curve still rises" in text
    assert "--bounds 0 1.5" in text
    assert "beyond 1, λ extrapolates" in text
    assert f"note: {text}" in " ".join(shown(result).split("\n"))
    assert result.to_json()["notes"][0] == {"code": "bound", "text": text}


@pytest.mark.parametrize(
    ("sign", "bounds", "expected"),
    [
        (-1, (0.0, 1.0), None),  # the reference is a natural end
        (-1, (0.2, 1.0), "lower bound 0.2, where the curve still rises: .* --bounds 0 1 "),
        (-1, (-1.0, 1.0), "lower bound -1, .* --bounds -2 1 "),
        (1, (0.0, 3.0), "upper bound 3, .* --bounds 0 4.5 "),
        (0, (0.0, 1.0), None),  # a flat curve rises nowhere
    ],
)
def test_only_a_bound_that_is_no_natural_end_is_noted(
    sign: int, bounds: tuple[float, float], expected: str | None
) -> None:
    result = lamsearch.search(lambda lam: rising(sign * lam), budget=6, bounds=bounds)
    notes = [note.text for note in result.notes if note.code == "bound"]
    if expected is None:
        assert notes == []
    else:
        assert len(notes) == 1
        assert pytest.approx(result.lam) in bounds
        assert re.search(expected, notes[0])


def test_an_answer_inside_the_bounds_has_no_such_note() -> None:
    assert "bound" not in codes(lamsearch.search(lambda lam: rising(lam) - lam**2, budget=6))


def test_few_images_are_noted_and_plain_numbers_are_not() -> None:
    few = lamsearch.search(lambda lam: (rising(lam) - lam**2)[:8], budget=5)
    note = next(note for note in few.notes if note.code == "few_images")
    assert "few images (8 at some λ): below 32" in note.text
    numbers = lamsearch.search(lambda lam: float((rising(lam) - lam**2).mean()), budget=5)
    assert "few_images" not in codes(numbers)


@pytest.mark.parametrize(
    ("evaluate", "text"),
    [
        (lambda lam: 0.5, "score is constant: every score is 0.5 at every λ, so it tells no λ"),
        (lambda lam: np.full(40, 0.5), "score is constant: every score is 0.5 at every λ"),
        (lambda lam: EFFECTS, "score is constant: every image scores the same at every λ"),
        (lambda lam: np.where(np.arange(40) == int(9 * lam), np.nan, EFFECTS), "every image"),
    ],
)
def test_a_constant_reward_is_called_constant(
    evaluate: Callable[[float], object], text: str, shown: Callable[[Summary], str]
) -> None:
    result = lamsearch.search(evaluate, budget=5)
    assert codes(result)[0] == "constant"
    assert "image_noise" not in codes(result)  # more images would not help either
    assert text in result.notes[0].text
    assert result.notes[0].text.endswith("and λ* means nothing")
    assert "is constant: every" in shown(result)


def test_a_reward_that_depends_on_lam_is_not_called_constant() -> None:
    one_image = np.arange(40) == 3
    for evaluate in (
        lambda lam: lam,
        lambda lam: np.full(40, lam),
        lambda lam: EFFECTS + 1e-9 * lam * one_image,
        lambda lam: 1e9 + 1e-6 * lam,
    ):
        assert "constant" not in codes(lamsearch.search(evaluate, budget=4))
    assert "constant" not in codes(lamsearch.search(lambda lam: 0.5, budget=1))


def test_a_constant_reward_beside_the_objective_is_noted_by_name() -> None:
    result = lamsearch.search(lambda lam: {"score": rising(lam), "clip": EFFECTS}, budget=4)
    texts = [note.text for note in result.notes if note.code == "constant"]
    assert texts == [
        "clip is constant: every image scores the same at every λ, so it tells no λ from another"
    ]


def test_a_search_that_stops_early_says_so() -> None:
    result = lamsearch.search(lambda lam: rising(lam) - lam**2, budget=30, epsilon="10%")
    assert len(result.evaluations) < 30
    note = next(note for note in result.notes if note.code == "stopped_early")
    assert note.text == (
        f"stopped after {len(result.evaluations)} of 30 evaluations: sure enough for --epsilon 10%"
    )
    used_up = lamsearch.search(lambda lam: rising(lam) - lam**2, budget=5, epsilon="10%")
    assert "stopped_early" not in codes(used_up)


def test_a_search_without_beta_answers_with_lam_alone_and_says_so(
    shown: Callable[[Summary], str],
) -> None:
    alone = lamsearch.search(lambda lam: rising(lam) - lam**2, budget=5)
    text = "no β is given: the answer is λ* alone, without a KL strength β/λ*"
    assert alone.to_json()["notes"][-1] == {"code": "no_beta", "text": text}
    assert alone.effective_beta is None
    assert [e.effective_beta for e in alone.evaluations] == [None] * 5
    table = shown(alone)
    assert f"note: {text}" in table
    assert "β/λ" not in table.replace(text, "")

    given = lamsearch.search(lambda lam: rising(lam) - lam**2, 500, budget=5)
    assert "no_beta" not in codes(given)
    assert given.lam == alone.lam
    assert "β/λ*" in shown(given)
