"""The search over one's own evaluation: any function of λ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamsearch.bayesopt.config import SearchOptions, parse_tolerance
from lamsearch.bayesopt.constraint import parse_constraint
from lamsearch.bayesopt.strategy import Strategy
from lamsearch.errors import EvaluationError, SettingsError
from lamsearch.loop import search_loop
from lamsearch.report.summary import Summary, summarize
from lamsearch.study.database import Study
from lamsearch.study.records import LARGEST_SCORE, Batch, Evaluation

SCORE = "score"
"""What is optimised, among the scores that a function returns by name."""

Scores: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"


def search(
    evaluate: Callable[[float], Scores],
    beta: float | None = None,
    *,
    budget: int = 12,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    acquisition: str = "auto",
    storage: str | None = None,
    study: str | None = None,
    constraint: str | None = None,
    confidence: float = 0.95,
    epsilon: float | str | None = None,
    recommend: str = "posterior",
    noise: str = "paired",
    kernel: str = "auto",
) -> Summary:
    """Search the λ that maximises your own evaluation.

    Args:
        evaluate: Takes λ and returns one number or a 1-D array of per-image scores, NaN = missing.
            Arrays of one length are paired by position: position i is the same image at every λ.
            To record other rewards on the same images, return a mapping: "score" is optimised,
            every other name is reported beside it and may be constrained.
        beta: KL strength of the anchor, to report β/λ*.
        budget: Evaluations.
        bounds: λ's range.
        seed: Of the initial design.
        acquisition: "auto", "ei", "ucb" or "kg".
        storage: SQLAlchemy URL of the study database; None keeps it in memory.
        study: Its name; one that exists is gone on with.
        constraint: On one of the other rewards, such as "clip >= -1% of reference",
            "clip >= reference - 0.01" or "clip >= 0.35": λ* is searched where it holds.
        confidence: Probability with which it must hold at λ*, and of the stopping rule.
        epsilon: Stop before the budget is used once J(λ*) is within ε of the best with that
            probability: in the units of the scores, or "5%" of the curve's range. None: no stop.
        recommend: Answer by the "posterior" mean, or as the paper by the best "observed" value.
        noise: "paired", or as in the paper "homoscedastic": one unknown variance of the means.
        kernel: "auto", "matern" or "rbf", the paper's and auto's for its Algorithm 2.

    Returns:
        The answer.

    Raises:
        SettingsError: If an argument is out of its range.
        StudyError: If the study exists with other settings.
        EvaluationError: If `evaluate` returns nothing usable.
    """
    guard = None if constraint is None else parse_constraint(constraint)
    strategy = Strategy(acquisition, recommend, noise, kernel)
    options = SearchOptions(
        budget, bounds, seed, strategy, guard, confidence, parse_tolerance(epsilon)
    )
    if beta is not None and not beta > 0:
        raise SettingsError(f"beta {beta} given, expected the anchor's KL strength, > 0")
    if guard is not None and guard.name == SCORE:
        raise SettingsError(f"constraint '{guard.text}' is on what is optimised: constrain another")
    opened = Study(study or "search", storage, sampler=options.sampler(), bounds=bounds)
    opened.bind(options.manifest(beta))
    function = FunctionEvaluation(evaluate, guard.name if guard else None)
    search_loop(opened, function, budget, enough=options.enough)
    return summarize(opened, options.tolerance)


class FunctionEvaluation:
    """A user's function of λ as batches: all its scores are one batch.

    Args:
        function: Takes λ, returns scores or a mapping of them.
        required: Name of another reward that the mapping must have, if any.
    """

    def __init__(self, function: Callable[[float], Scores], required: str | None = None) -> None:
        self._function, self._required = function, required

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores at λ; those committed before the process ended stand."""
        if evaluation.scores:
            return
        began = time.perf_counter()
        rows = self._rows(evaluation.lam)
        scores = rows.pop(SCORE)
        others = {name: row.tolist() for name, row in rows.items()}
        yield Batch(range(len(scores)), scores.tolist(), time.perf_counter() - began, others)

    def _rows(self, lam: float) -> dict[str, NDArray[np.float64]]:
        """Return the function's scores by name, of one length."""
        given = self._function(lam)
        named = given if isinstance(given, Mapping) else {SCORE: given}
        rows = {str(name): _scores(lam, row) for name, row in named.items()}
        for name in (SCORE, self._required):
            if name is not None and name not in rows:
                have = ", ".join(rows) or "nothing"
                raise EvaluationError(
                    f"the evaluation of lam = {lam:g} returned {have}: expected '{name}' with them"
                )
        for name, row in rows.items():
            if len(row) != len(rows[SCORE]):
                raise EvaluationError(
                    f"the evaluation of lam = {lam:g} returned {len(row)} scores of '{name}' for "
                    f"{len(rows[SCORE])} images: expected one an image, NaN = missing"
                )
        return rows


def _scores(lam: float, returned: ArrayLike) -> NDArray[np.float64]:
    scores = np.atleast_1d(np.asarray(returned, dtype=np.float64))
    infinite = np.abs(scores) > LARGEST_SCORE
    if scores.ndim != 1 or not len(scores) or infinite.any():
        raise EvaluationError(
            f"the evaluation of lam = {lam:g} returned shape {scores.shape} with "
            f"{int(infinite.sum())} infinite scores: expected one number or a 1-D "
            "array of scores, NaN = missing"
        )
    return scores
