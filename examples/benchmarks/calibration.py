"""Whether our search can be trusted: coverage of its 95 % intervals, and its stopping rule."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from examples.benchmarks.curves import CALIBRATION_FAMILIES, FAMILIES
from examples.benchmarks.ours import COVERAGE_AT, OURS
from examples.benchmarks.records import Cell, Key, Record
from examples.benchmarks.regret import Mean, mean_and_error

REAL_FAMILIES = [name for name in FAMILIES if name not in CALIBRATION_FAMILIES.values()]


def prior_of(method: str) -> str:
    """Return the family that is drawn from the method's own prior."""
    return CALIBRATION_FAMILIES[OURS[method].kernel]


def last_covered(budget: int) -> str | None:
    """Return the last n at which coverage is recorded, as the records name it."""
    reached = [str(n) for n in COVERAGE_AT if n <= budget]
    return reached[-1] if reached else None


def coverage(
    records: Mapping[Key, Record],
    families: Collection[str],
    cells: Collection[Cell],
    *,
    n: str,
    truth: str,
) -> Mean:
    """Return the share of intervals, in %, that contain the truth ("lam": λ*, "value": J(λ*))."""
    chosen = {k: r for k, r in records.items() if k[0] in families and k[1:3] in cells}
    return mean_and_error({k: 100 * r["coverage"][n][truth] for k, r in chosen.items()})


class Missed(NamedTuple):
    """Number of intervals without λ*, and 1000 times the regret at their λ nearest to it."""

    count: int
    mean: float
    worst: float


def missed(
    records: Mapping[Key, Record], families: Collection[str], cells: Collection[Cell], *, n: str
) -> Missed:
    chosen = [r["coverage"][n] for k, r in records.items() if k[0] in families and k[1:3] in cells]
    losses = [1000 * found["lam_loss"] for found in chosen if not found["lam"]]
    return Missed(len(losses), *((np.mean(losses), max(losses)) if losses else (0.0, 0.0)))


class Stops(NamedTuple):
    """Numbers of runs, stops and right stops, and the mean number of evaluations at the stop."""

    runs: int
    stopped: int
    right: int
    evaluations: float


def stops(
    records: Mapping[Key, Record], families: Collection[str], cells: Collection[Cell]
) -> Stops:
    chosen = [r for k, r in records.items() if k[0] in families and k[1:3] in cells]
    found = [record["stop"] for record in chosen if record.get("stop")]
    evaluations = float(np.mean([stop["n"] for stop in found])) if found else math.nan
    runs = sum("stop" in record for record in chosen)
    return Stops(runs, len(found), sum(stop["right"] for stop in found), evaluations)
