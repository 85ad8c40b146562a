"""What a study holds at one moment: its trials, read once, and what a search wants of them."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from lamsearch.study.records import Evaluation

UNLIMITED = sys.maxsize
"""No limit: the policy decides when to stop."""


@dataclass(frozen=True)
class History:
    """The trials of a study, read at one moment.

    Attributes:
        evaluations: All trials, in the order of their numbers.
        number: Number of the trial that the next proposal is for.
        left: What is left of the budget for it: evaluations, or images.
    """

    evaluations: tuple[Evaluation, ...]
    number: int = 0
    left: int = UNLIMITED

    @cached_property
    def bounds(self) -> tuple[float, float] | None:
        """λ's range (low, high) in the last complete trial, None as long as there is none."""
        ranges = [e.bounds for e in self.evaluations if e.state == TrialState.COMPLETE and e.bounds]
        return ranges[-1] if ranges else None

    def within(self, bounds: tuple[float, float]) -> History:
        """Return the history without what was evaluated outside of the bounds."""
        low, high = bounds
        inside = [e for e in self.evaluations if math.isnan(e.lam) or low <= e.lam <= high]
        return dataclasses.replace(self, evaluations=tuple(inside))

    @cached_property
    def finished(self) -> list[Evaluation]:
        """Complete evaluations that have a λ and a usable score."""
        return [e for e in self.evaluations if e.state == TrialState.COMPLETE and e.scores]

    @cached_property
    def failed(self) -> list[Evaluation]:
        """Ended evaluations without a usable score."""
        ended = [each for each in self.evaluations if each.state.is_finished()]
        return [e for e in ended if e.state != TrialState.COMPLETE or not e.scores]

    @cached_property
    def running(self) -> list[Evaluation]:
        """Evaluations that a worker is at, or was when it died."""
        return [each for each in self.evaluations if each.state == TrialState.RUNNING]

    @cached_property
    def images_done(self) -> int:
        """Number of images that finished evaluations have scored."""
        return sum(len(each.scores) for each in self.finished)

    @cached_property
    def waiting(self) -> list[Evaluation]:
        """Evaluations that somebody enqueued."""
        return [each for each in self.evaluations if each.state == TrialState.WAITING]

    @cached_property
    def spent(self) -> list[Evaluation]:
        """Evaluations that count against the budget and are not to be tried again.

        A failed evaluation counts only where its λ has a usable score elsewhere: else its cause
        may have been mended.
        """
        ends = (TrialState.COMPLETE, TrialState.FAIL)
        scored = {each.lam for each in self.evaluations if each.state == TrialState.COMPLETE}
        return [each for each in self.evaluations if each.state in ends and each.lam in scored]


def merged(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Join evaluations of the same λ on different images, as `--images auto` adds them.

    The result has the number and state of the first. Evaluations of the same images stay apart: a
    plain Optuna script may repeat a λ, and then these are repetitions.

    Args:
        evaluations: In any order.

    Returns:
        At most as many, in the order of their numbers.
    """
    rows: dict[tuple[float, int], list[tuple[set[int], list[Evaluation]]]] = {}
    for evaluation in sorted(evaluations, key=lambda e: e.number):
        nameless = evaluation.number if math.isnan(evaluation.lam) else -1  # equals no other
        same = rows.setdefault((evaluation.lam, nameless), [])
        seen, parts = next(
            (row for row in same if row[0].isdisjoint(evaluation.scores)), (set[int](), [])
        )
        if not parts:
            same.append((seen, parts))
        seen.update(evaluation.scores)
        parts.append(evaluation)
    joined = [_joined(parts) for same in rows.values() for _, parts in same]
    return sorted(joined, key=lambda e: e.number)


def score_rows(
    evaluations: Sequence[Evaluation], tracked: str | None = None
) -> list[NDArray[np.float64]]:
    """Return the scores in the form that `lamsearch.surrogate.pairing.observe` takes.

    Args:
        evaluations: n evaluations.
        tracked: Name of a tracked reward; by default the objective's scores.

    Returns:
        n rows; all rows of one plan have the same length, also if the plan grew meanwhile.
    """
    return _even_rows(
        evaluations, lambda each: each.row if tracked is None else each.tracked_row(tracked)
    )


def statistic_rows(evaluations: Sequence[Evaluation], name: str) -> list[NDArray[np.float64]]:
    """Return a statistic of the images in the form of `score_rows`."""
    return _even_rows(evaluations, lambda each: each.statistic_row(name))


def _even_rows(
    evaluations: Sequence[Evaluation], row_of: Callable[[Evaluation], NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    width = max((evaluation.plan_size for evaluation in evaluations), default=0)
    rows = []
    for evaluation in evaluations:
        row = row_of(evaluation)
        absent = width - len(row) if evaluation.plan_size else 0
        rows.append(np.pad(row, (0, absent), constant_values=np.nan))
    return rows


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    first, *others = parts
    if not others:
        return first
    return dataclasses.replace(
        first,
        scores=_union([part.scores for part in parts]),
        seconds=sum(part.seconds for part in parts),
        plan_size=max(part.plan_size for part in parts),
        tracked=_unions([part.tracked for part in parts]),
        statistics=_unions([part.statistics for part in parts]),
    )


def _unions(tables: Sequence[Mapping[str, Mapping[int, float]]]) -> dict[str, dict[int, float]]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: _union([table.get(name, {}) for table in tables]) for name in names}


def _union(tables: Sequence[Mapping[int, float]]) -> dict[int, float]:
    return {image_id: score for table in tables for image_id, score in table.items()}
