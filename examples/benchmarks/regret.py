"""Mean regrets, paired comparisons and the benchmark's two goals.

A seed has its own curves, noise and initial design, and the 11 families share them: so all errors
are errors of means over seeds. The calibration families are in no average.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from examples.benchmarks.curves import CALIBRATION_FAMILIES
from examples.benchmarks.ours import OURS
from examples.benchmarks.records import INITIAL, Cell, Key, Record, Runs


class Mean(NamedTuple):
    value: float
    error: float
    seeds: int


def mean_and_error(values: Mapping[Key, float]) -> Mean:
    """Return the mean over the problems, its standard error, and the number of seeds.

    The error is computed from the seeds' means, since a seed's problems share their luck.
    """
    by_seed = defaultdict(list)
    for key, value in values.items():
        by_seed[key[3]].append(value)
    size = max(map(len, by_seed.values()), default=0)
    # A seed that was interrupted halfway would average over other problems.
    means = [np.mean(seed) for seed in by_seed.values() if len(seed) == size]
    error = np.std(means, ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return Mean(float(np.mean(means)) if means else math.nan, float(error), len(means))


def regrets(records: Mapping[Key, Record], n: int, cells: Sequence[Cell]) -> dict[Key, float]:
    """Return 1000 times the regrets after n evaluations, by problem."""
    return {
        key: 1000 * record["regrets"][n - INITIAL]
        for key, record in records.items()
        if key[1:3] in cells and key[0] not in CALIBRATION_FAMILIES.values()
    }


class Difference(NamedTuple):
    """A paired difference, and half of its 95 % interval."""

    value: float
    half: float

    @property
    def verdict(self) -> str:
        """Whether the goal, a difference below 0, is met, missed, or neither is shown."""
        if self.value + self.half < 0:
            return "met"
        return "missed" if self.value > self.half else "not shown"


class Comparison(NamedTuple):
    """Our regret after n evaluations against a share of the peer's after n_peer."""

    n: int
    n_peer: int
    share: float

    def text(self, sign: str) -> str:
        share = "" if self.share == 1 else f"{self.share:g} × "
        return f"ours after {self.n} {sign} {share}peer's after {self.n_peer}"

    def interval(
        self, ours: Mapping[Key, Record], peer: Mapping[Key, Record], cells: Sequence[Cell]
    ) -> Difference:
        """Return the mean difference on the problems that both have met."""
        left, right = regrets(ours, self.n, cells), regrets(peer, self.n_peer, cells)
        both = {key: left[key] - self.share * right[key] for key in left.keys() & right.keys()}
        mean, error, seeds = mean_and_error(both)
        return Difference(mean, float(student_t.ppf(0.975, max(seeds - 1, 1))) * error)


def goals(budget: int) -> tuple[Comparison, Comparison]:
    """Return the goals: as good after half of the evaluations, and half the regret after all."""
    return Comparison(min(6, budget), budget, 1), Comparison(budget, budget, 0.5)


def against_peers(
    goal: Comparison, runs: Runs, ours: str, cells: Sequence[Cell]
) -> dict[str, Difference]:
    """Return differences from each peer that has met the same problems, the best peer first."""
    peers = {name: records for name, records in runs.results.items() if name not in OURS}
    own = runs.results.get(ours, {})
    found = {name: goal.interval(own, records, cells) for name, records in peers.items()}
    found = {name: d for name, d in found.items() if not math.isnan(d.value)}
    # The best peer is the one against which we do worst.
    return dict(sorted(found.items(), key=lambda item: -item[1].value))
