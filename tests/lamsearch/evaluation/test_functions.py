"""What a user's function may return, and what happens with what it may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lamsearch
from lamsearch.errors import EvaluationError, NoScoreError
from lamsearch.study.database import Study

EFFECTS = np.cos(np.arange(40.0))


def curve(lam: float) -> np.ndarray:
    return -((lam - 0.6) ** 2) + 0.1 * EFFECTS * (1 + 0.05 * lam)


@pytest.mark.parametrize(
    ("returned", "given"),
    [
        (np.ma.masked_array([1.0, 2.0], [True, False]), "a masked array, whose mask would be lost"),
        ([1.0, np.ma.masked], "a list with a masked array"),
        (1 + 2j, r"shape \(\) of complex128"),
        (np.array([1 + 2j]), r"shape \(1,\) of complex128"),
        ("0.5", r"shape \(\) of <U3"),
        (["0.5", "0.6"], r"shape \(2,\) of <U3"),
        (b"0.5", "a bytes"),
        (bytearray(b"0.5"), "a bytearray"),
        (np.array(["2020-01-01"], "M8[D]"), r"shape \(1,\) of datetime64"),
        (np.timedelta64(3, "s"), r"shape \(\) of timedelta64"),
        (True, "a bool"),
        (np.array([True, False]), "a bool|shape .* of bool"),
        ([0.5, False], "a list with a bool"),
        (torch.tensor([True]), "a bool|shape .* of bool"),
        ([[0.5, 0.6]], r"shape \(1, 2\)"),
        ([[0.5], [0.6, 0.7]], "a list that is not an array"),
        (None, r"shape \(\) of object"),
        ([0.5, None], r"shape \(2,\) of object"),
        (Decimal("0.5"), r"shape \(\) of object"),
        ({0.5, 0.6}, r"shape \(\) of object"),
        (np.float16(0.5), r"shape \(\) of float16"),
        (2**53 + 1, r"shape \(\) of int64"),
        (10**400, r"shape \(\) of object"),
        ([], r"shape \(0,\)"),
        ({"score": ["1"]}, r"shape \(1,\) of <U1"),
        ({"score": [1.0], "clip": [1j]}, r"shape \(1,\) of complex128"),
    ],
)
def test_what_is_no_number_is_refused(returned: Any, given: str) -> None:
    message = rf"lam = 0 returned ({given}).*: expected one number or a 1-D array"
    with pytest.raises(EvaluationError, match=message):
        lamsearch.search(lambda lam: returned, budget=3)


def test_what_was_computed_before_is_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    with pytest.raises(EvaluationError, match="lam = 1 returned"):
        lamsearch.search(lambda lam: "0.5" if lam else [1.0, 2.0], budget=3, storage=url)
    history = Study.open("search", url).history()
    assert [list(each.scores.values()) for each in history.finished] == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "form",
    [list, tuple, torch.tensor, lambda row: row.astype(">f8"), lambda row: {"score": row}],
)
def test_forms_of_numbers_that_lose_nothing_are_taken(form: Callable[[Any], Any]) -> None:
    plain = lamsearch.search(curve, budget=3)
    assert lamsearch.search(lambda lam: form(curve(lam)), budget=3).lam == plain.lam


def test_integers_are_numbers() -> None:
    result = lamsearch.search(lambda lam: round(100 * lam), budget=3)
    assert result.best_observed == lamsearch.report.summary.BestObserved(1.0, 100.0)


def test_a_large_offset_costs_no_digit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    far = lamsearch.search(lambda lam: 1e9 + curve(lam), budget=6, storage=url)
    near = lamsearch.search(curve, budget=6)
    assert far.lam == pytest.approx(near.lam, abs=0.02)
    assert far.value - 1e9 == pytest.approx(near.value, abs=1e-3)
    stored = Study.open("search", url).history().finished[0]
    np.testing.assert_array_equal(stored.row, 1e9 + curve(stored.lam))


def test_another_number_of_scores_is_refused_also_after_a_resume(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    lengths = iter([3, 3, 4, 2, 3])

    def evaluate(lam: float) -> np.ndarray:
        return curve(lam)[: next(lengths)]

    for length in (4, 2):
        message = rf"returned {length} scores, and others in the study have 3: expected the same"
        with pytest.raises(EvaluationError, match=message):
            lamsearch.search(evaluate, budget=3, storage=url)
    assert len(lamsearch.search(evaluate, budget=3, storage=url).evaluations) == 3


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(0), GeneratorExit()])
def test_what_a_function_raises_reaches_its_caller_and_the_lease_is_given_back(
    tmp_path: Path, error: BaseException
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    broken = [True]

    def evaluate(lam: float) -> np.ndarray:
        if lam == 1 and broken.pop():
            raise error
        return curve(lam)

    with pytest.raises(type(error)) as caught:
        lamsearch.search(evaluate, budget=3, storage=url)
    assert caught.value is error
    study = Study.open("search", url)
    assert not study.has_live_workers
    assert len(study.history().finished) == 1
    broken[:] = [False] * 3
    assert len(lamsearch.search(evaluate, budget=3, storage=url).evaluations) == 3


def test_a_lam_without_scores_is_tried_twice_and_never_the_answer(tmp_path: Path) -> None:
    url, calls = f"sqlite:///{tmp_path}/s.db", []

    def evaluate(lam: float) -> np.ndarray:
        calls.append(lam)
        row = curve(lam)
        if lam == 1:
            row[:] = [math.nan] * 30 + [9.0] * 10  # the best by far, where it has a score
        return row

    with pytest.raises(NoScoreError, match=r"lam = 1: 30 of 40 scores are missing, 2 times"):
        lamsearch.search(evaluate, budget=5, storage=url)
    assert calls == [0.0, 1.0, 1.0]
    result = lamsearch.search(evaluate, budget=5, storage=url)  # goes on with other λs
    assert calls.count(1.0) == 2
    assert len(result.evaluations) == 5
    assert 1.0 not in [each.lam for each in result.evaluations]
    assert result.value < 1
    note = next(note for note in result.notes if note.code == "failed")
    assert "λ = 1 (30 of 40 scores are missing, 2 times)" in note.text
