"""λ → scores of a user's own function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamsearch.errors import EvaluationError
from lamsearch.study.batches import LARGEST_SCORE, Batch
from lamsearch.study.records import Evaluation
from lamsearch.study.score_arrays import score_array

SCORE = "score"
"""What is optimised, among the scores that a function returns by name."""

Scores: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"


class FunctionEvaluation:
    """A user's function of λ; all its scores are one batch.

    What the function raises reaches the caller of the search as it is.

    Args:
        function: Takes λ, returns scores or a mapping of names to scores.
        required: Name of another reward that the mapping must contain, if any.
        finished: Returns the evaluations that the study has: every λ is scored on as many images.
    """

    def __init__(
        self,
        function: Callable[[float], Scores],
        required: str | None = None,
        *,
        finished: Callable[[], Sequence[Evaluation]] = tuple,
    ) -> None:
        self._function, self._required, self._finished = function, required, finished

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores at λ, unless they were committed before an interruption.

        Raises:
            EvaluationError: If the function returns anything but numbers, or another number of
                them than at the λs before.
        """
        if evaluation.scores:
            return
        began = time.perf_counter()
        rows = self._rows(evaluation.lam)
        scores = rows.pop(SCORE)
        self._require_length(evaluation.lam, len(scores))
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

    def _require_length(self, lam: float, length: int) -> None:
        # Whatever took no time was not evaluated here: a plain Optuna script left a single value.
        before = {len(each.scores) for each in self._finished() if each.seconds > 0}
        if before and length not in before:
            raise EvaluationError(
                f"the evaluation of lam = {lam:g} returned {length} scores, and others in the "
                f"study have {', '.join(map(str, sorted(before)))}: expected the same images at "
                "every lam, NaN = missing; name a new study for other images"
            )


def _scores(lam: float, returned: ArrayLike) -> NDArray[np.float64]:
    expected = "expected one number or a 1-D array of scores, NaN = missing"
    try:
        scores = np.atleast_1d(score_array(returned, integers=True))
    except ValueError as error:
        given = f"the evaluation of lam = {lam:g} returned {error}"
        raise EvaluationError(f"{given}: {expected}") from error
    infinite = np.abs(scores) > LARGEST_SCORE
    if scores.ndim != 1 or not len(scores) or infinite.any():
        number = f" with {infinite.sum()} infinite scores" if infinite.any() else ""
        raise EvaluationError(
            f"the evaluation of lam = {lam:g} returned shape {scores.shape}{number}: {expected}"
        )
    return scores
