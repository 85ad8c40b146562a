"""Where to spend images: the same on all λs, a rotating plan, or as the search decides.

    export OMP_NUM_THREADS=1
    python examples/benchmarks/images.py --seeds 100 --output images.json

Searches of the bundled world's stored scores: J is the mean curve of 1,000 images, interpolated in
λ, and a study draws its images from these with replacement. Regret is what J loses at λ* against
its maximum, in percent of its range; all three ways spend the same number of images, the first two
on 12 λs. Means over the seeds with standard errors. And how often the 95 % intervals of λ* and of
J(λ*) − J(1) hold the truth.
"""

from __future__ import annotations

import argparse
import json
import math
from functools import cache, partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from lamsearch.bayesopt.image_allocation import LEAST_NEW, next_step
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.bayesopt.policy import INITIAL_DESIGN, History, propose
from lamsearch.bayesopt.recommendation import recommend
from lamsearch.bayesopt.strategy import Strategy
from lamsearch.evaluation.block_design import Schedule
from lamsearch.surrogate.model import Surrogate

SCORES = Path(str(files("lamsearch") / "miniature" / "reference_scores.npz"))
BOUNDS = (0.0, 1.0)
LAMS = 12
BUDGETS = (96, 192, 384, 768, 1536)
WAYS = ("fixed", "rotating", "auto")
LEAST_AUTO = INITIAL_DESIGN * LEAST_NEW
"""The images of its initial design."""

INTERVALS = ("λ*", "J(λ*) − J(1)")

Outcome: TypeAlias = dict[str, float]
"""Of one search: the regret in percent, and 1 or 0 for each interval that holds or does not."""

Row: TypeAlias = dict[str, Any]
"""A way and a number of images, and the outcomes of all seeds as columns."""


@cache
def curves() -> CubicSpline:
    """λ → the scores of the 1,000 images."""
    stored = np.load(SCORES)
    return CubicSpline(stored["lam"], stored["pickscore"].astype(float))


@cache
def truth() -> tuple[CubicSpline, float, float]:
    """J, its maximum and its range."""
    stored = np.load(SCORES)
    mean = CubicSpline(stored["lam"], stored["pickscore"].mean(axis=1, dtype=float))
    line = mean(np.linspace(0, 1, 2001))
    return mean, line.max(), np.ptp(line)


def outcome(surrogate: Surrogate) -> Outcome:
    mean, top, width = truth()
    answer = recommend(surrogate)
    line = np.linspace(*answer.lam_interval, 2001)
    low, high = answer.gain_over_aligned.interval
    return {
        "regret": float(100 * (top - mean(answer.lam)) / width),
        "λ*": float(mean(line).max() > top - 1e-6 * width),
        "J(λ*) − J(1)": float(low <= mean(answer.lam) - mean(1.0) <= high),
    }


def drawn(seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(1000, size=max(BUDGETS))


def by_plan(way: str, budget: int, seed: int) -> Outcome:
    """12 λs, each with the images that its place in a plan gives it."""
    schedule, images = Schedule(budget // LAMS, way), drawn(seed)
    lams: list[float] = []
    rows: list[NDArray[np.float64]] = []
    for number in range(LAMS):
        lam = propose(History(BOUNDS, lams, rows), seed=seed)
        ids = list(schedule.image_ids(number))
        row = np.full(schedule.total, np.nan)
        row[ids] = curves()(lam)[images[ids]]
        lams.append(lam)
        rows.append(row)
    return outcome(Strategy().fit(lams, rows, bounds=BOUNDS))


def by_allocation(budget: int, seed: int) -> Outcome:
    """The search adds λs, or images at one that it has, until the budget is used."""
    images = drawn(seed)
    counts = dict.fromkeys(initial_lams(INITIAL_DESIGN, seed=seed), LEAST_NEW)

    def surrogate() -> Surrogate:
        table = np.full((len(counts), budget), np.nan)
        for row, (lam, count) in zip(table, counts.items(), strict=True):
            row[:count] = curves()(lam)[images[:count]]
        return Strategy().fit(list(counts), list(table), bounds=BOUNDS)

    while left := budget - sum(counts.values()):
        step = next_step(surrogate(), list(counts.values()), limit=left)
        counts[step.lam] = step.stop
    return outcome(surrogate())


def main(seeds: int = 100, output: str = "images.json") -> list[Row]:
    torch.set_num_threads(1)
    rows = [
        columns(way, budget, seeds)
        for budget in BUDGETS
        for way in WAYS
        if way != "auto" or budget >= LEAST_AUTO
    ]
    versions = {name: version(name) for name in ("torch", "botorch", "scipy")}
    command = f"python examples/benchmarks/images.py --seeds {seeds}"
    save(Path(output), {"command": command, "versions": versions}, rows)
    report(rows)
    return rows


def columns(way: str, budget: int, seeds: int) -> Row:
    search = by_allocation if way == "auto" else partial(by_plan, way)
    outcomes = [search(budget, seed) for seed in range(seeds)]
    return {"way": way, "images": budget} | {
        name: [each[name] for each in outcomes] for name in outcomes[0]
    }


def save(path: Path, about: dict[str, Any], rows: list[Row]) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(json.dumps(about)[:-1] + f', "rows": [\n{lines}\n]}}\n')


def report(rows: list[Row]) -> None:
    found = {(row["images"], row["way"]): row for row in rows}
    for name in ("regret", *INTERVALS):
        title = name if name == "regret" else f"interval of {name} holds"
        print(f"\n| {title}: images | 12 λs, fixed plan | 12 λs, rotating plan | --images auto |")
        print("|---|---|---|---|")
        for budget in BUDGETS:
            own = [found.get((budget, way)) for way in WAYS]
            cells = ["–" if row is None else _cell(row[name], name) for row in own]
            print(f"| {budget} | {' | '.join(cells)} |")


def _cell(values: list[float], name: str) -> str:
    if name != "regret":
        return f"{100 * np.mean(values):.0f} %"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.2f} %"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--output", default="images.json")
    main(**vars(parser.parse_args()))
