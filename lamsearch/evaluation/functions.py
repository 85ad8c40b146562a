"""λ → scores of a user's own function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamsearch.errors import EvaluationError
from lamsearch.study.records import LARGEST_SCORE, Batch, Evaluation

SCORE = "score"
"""What is optimised, among the scores that a function returns by name."""

Scores: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"


class FunctionEvaluation:
    """A user's function of λ; all its scores are one batch.

    Args:
        function: Takes λ, returns scores or a mapping of names to scores.
        required: Name of another reward that the mapping must contain, if any.
    """

    def __init__(self, function: Callable[[float], Scores], required: str | None = None) -> None:
        self._function, self._required = function, required

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores at λ, unless they were committed before an interruption."""
        if evaluation.scores:
            return
        began = time.perf_counter()
        rows = self._rows(evaluation.lam)
        scores = rows.pop(SCORE)
        tracked = {name: row.tolist() for name, row in rows.items()}
        yield Batch(range(len(scores)), scores.tolist(), time.perf_counter() - began, tracked)

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
                    f"{len(rows[SCORE])} images: expected one per image, NaN = missing"
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
