"""Where to spend images: the same on all λs, a rotating plan, or as the search decides.

    export OMP_NUM_THREADS=1
    python -m examples.benchmarks.images --seeds 100 --output images.json

Simulated searches of the bundled world's stored scores: 5 images of each of its 200 prompts, the
same 1,000 at each of 21 λs. The simulated world has these images and no others. J is their mean
curve, interpolated in λ, so the truth is known exactly. Study `seed` has the image plan of a real
run with that seed, so it uses each prompt as often as the run does; in place of an image with a new
seed it takes one of the prompt's 5 stored images, independently each time. (So the variance within
a prompt is 4/5 of what new images would have.) Regret is what J loses at λ* against its maximum, in
percent of its range. All three ways spend the same number of images, the first two on 12 λs. The
script prints means over the studies with standard errors, and how often the 95 % intervals of λ*
and of J(λ*) − J(1) contain the truth. Rows that an interrupted run has written to the output file
are not computed again. `--processes N` runs N studies at a time.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from examples.benchmarks.curves import BUNDLED_SCORES, stored_scores
from examples.benchmarks.processes import map_seeds
from examples.benchmarks.simulation import simulate
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.image_allocation import LEAST_NEW
from lamsearch.bayesopt.policy import INITIAL_DESIGN, AllocationPolicy, SearchPolicy
from lamsearch.bayesopt.recommendation import Recommendation, recommend
from lamsearch.evaluation.block_design import BlockDesign
from lamsearch.evaluation.image_plan import GROWING, image_plan
from lamsearch.study.history import merged
from lamsearch.study.proposal import Budget, Policy

PROMPTS = 200
IMAGES_PER_PROMPT = 5
LAMS = 12
BUDGETS = (96, 192, 384, 768, 1536)
WAYS = ("fixed", "rotating", "auto")
LEAST_AUTO = INITIAL_DESIGN * LEAST_NEW
"""Images of the initial design of a search that decides how many images a λ gets."""

INTERVALS = ("λ*", "J(λ*) − J(1)")

Outcome: TypeAlias = dict[str, float]
"""Regret of one search in percent, and 1 or 0 for each interval that contains the truth or not."""

Row: TypeAlias = dict[str, Any]
"""A way and a number of images, and the outcomes of all seeds as columns."""


@cache
def curves() -> CubicSpline:
    """Return λ → the scores of the 1,000 images."""
    return CubicSpline(*stored_scores(BUNDLED_SCORES))


@cache
def truth() -> tuple[CubicSpline, float, float]:
    """Return J, its maximum and its range."""
    lams, scores = stored_scores(BUNDLED_SCORES)
    mean = CubicSpline(lams, scores.mean(axis=1))
    line = mean(np.linspace(0, 1, 2001))
    return mean, line.max(), np.ptp(line)


def stored_images(images: int, seed: int) -> NDArray[np.int64]:
    """Return the stored image that stands for each image of a study's plan.

    Stored image i has prompt i mod `PROMPTS`, counted from 0. The prompt is the one that
    `image_plan` chooses. Which of the prompt's images it is follows from the planned image's seed,
    so that images with the same prompt are independent draws, as they are in a real run.

    Args:
        images: Number of images in the plan.
        seed: Seed of the study.
    """
    plan = image_plan([str(number) for number in range(PROMPTS)], images, seed)
    stored = [int(image.prompt) + PROMPTS * (image.seed % IMAGES_PER_PROMPT) for image in plan]
    return np.array(stored)


def run_study(way: str, budget: int, seed: int) -> Outcome:
    """Search with `budget` images and return what came of it."""
    config = SearchConfig(seed=seed)
    if way == "auto":
        plan_size = max(budget, GROWING)
        policy: Policy = AllocationPolicy(config)
        limit = Budget(budget, counts_images=True)
    else:
        design = BlockDesign(budget // LAMS, way)
        plan_size = design.total
        policy = SearchPolicy(config, design.image_ids)
        limit = Budget(LAMS)
    images = stored_images(plan_size, seed)

    def scores(lam: float, number: int, image_ids: Sequence[int]) -> NDArray[np.float64]:
        return curves()(lam)[images[image_ids]]

    evaluations = simulate(policy, scores, limit, plan_size=plan_size)
    return outcome(recommend(Evidence.from_evaluations(merged(evaluations), config).surrogate))


def outcome(answer: Recommendation) -> Outcome:
    """Compare an answer with the truth."""
    mean, top, width = truth()
    line = np.linspace(*answer.lam_interval, 2001)
    low, high = answer.gain_over_aligned.interval
    return {
        "regret": float(100 * (top - mean(answer.lam)) / width),
        "λ*": float(mean(line).max() > top - 1e-6 * width),
        "J(λ*) − J(1)": float(low <= mean(answer.lam) - mean(1.0) <= high),
    }


def main(seeds: int = 100, output: str = "images.json", processes: int = 1) -> list[Row]:
    prepare()
    path, rows = Path(output), []
    about = {
        "command": f"python -m examples.benchmarks.images --seeds {seeds}",
        "versions": {name: version(name) for name in ("torch", "botorch", "scipy")},
    }
    known = stored_rows(path, about)
    for way, budget in searches():
        rows.append(known.get((way, budget)) or columns(way, budget, seeds, processes))
        save(path, about, rows)
    report(rows)
    return rows


def searches() -> Iterator[tuple[str, int]]:
    """Yield every way with every number of images that it can spend."""
    for budget in BUDGETS:
        for way in WAYS:
            if way != "auto" or budget >= LEAST_AUTO:
                yield way, budget


def prepare() -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def columns(way: str, budget: int, seeds: int, processes: int) -> Row:
    """Run all seeds of a way with a number of images."""
    study = partial(run_study, way, budget)
    outcomes = list(map_seeds(study, range(seeds), processes, prepare))
    return {"way": way, "images": budget} | {
        name: [each[name] for each in outcomes] for name in outcomes[0]
    }


def stored_rows(path: Path, about: dict[str, Any]) -> dict[tuple[str, int], Row]:
    """Return the rows of an output file that the same command and versions wrote."""
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if {name: stored.get(name) for name in about} != about:
        return {}
    return {(row["way"], row["images"]): row for row in stored["rows"]}


def save(path: Path, about: dict[str, Any], rows: list[Row]) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(json.dumps(about)[:-1] + f', "rows": [\n{lines}\n]}}\n')


def report(rows: list[Row]) -> None:
    found = {(row["images"], row["way"]): row for row in rows}
    for name in ("regret", *INTERVALS):
        title = "regret" if name == "regret" else f"95 % intervals that contain {name}"
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
    parser.add_argument("--processes", type=int, default=1)
    main(**vars(parser.parse_args()))
