"""What rounding the proposals changed in the stored figures of the search benchmark.

    export OMP_NUM_THREADS=1
    python -m examples.benchmarks.rounding --seeds 3 --output rounding.json

The figures of our methods in `results/search.json` come from an earlier version of `ours.py`, which
had a copy of the search loop and evaluated every proposal as it came. The product's policy rounds λ
to six digits of the width of its bounds. `UnroundedPolicy` is the earlier copy: a test shows that
it gives the λs and answers of that version bit by bit. This script searches the same problems with
both policies and prints the paired differences of the regrets. Both meet the same luck: the part of
a score that is independent at every λ is drawn from the rounded λ. Runs that an interrupted script
has written to `OUTPUT.jsonl` are not repeated.

Rounding moves λs by less than 1e-6. In most runs this changes nothing that is printed; in a few the
acquisition is nearly equal at two λs, and the search then takes another course, for better or
worse. On average over seeds that is no change, but single digits of a repeated benchmark differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks.calibration import REAL_FAMILIES
from examples.benchmarks.ours import OURS, run_ours
from examples.benchmarks.problems import Problem
from examples.benchmarks.records import INITIAL, KEY, Key, Record, Records, header, lines
from examples.benchmarks.regret import mean_and_error
from examples.benchmarks.search import BUDGET, prepare
from examples.benchmarks.summary import by_line
from examples.benchmarks.tables import table
from examples.benchmarks.tasks import regrets
from lamsearch.bayesopt.acquisition import next_lam
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.study.history import History
from lamsearch.study.proposal import Proposal
from lamsearch.study.records import to_ranges

METHODS = ("ours-auto-matern", "ours-rotating-matern")
STDERRS = (0.3, 0.1, 0.03)
AT = (6, 8, 12)
"""Evaluations after which regrets are compared."""

SAME_LAM, SAME_REGRET = 1e-6, 5e-5
"""Largest differences that count as none: of λ, and of a regret in units of J's range."""


@dataclass(frozen=True)
class UnroundedPolicy:
    """The search as it was before proposals were rounded, without pending or failed evaluations.

    Attributes:
        config: Options of the search; the bounds are [0, 1].
        image_ids: A trial's number → the increasing ids of its images.
    """

    config: SearchConfig
    image_ids: Callable[[int], Sequence[int]]

    def __call__(self, history: History) -> Proposal:
        """Return the next λ as the initial design or the acquisition gives it."""
        number = history.number
        if number < INITIAL:
            lam = initial_lams(INITIAL, seed=self.config.seed)[number]
        else:
            evidence = Evidence.from_evaluations(history.finished, self.config)
            lam = next_lam(evidence.surrogate, acquisition=self.config.acquisition)
        return Proposal(lam, to_ranges(self.image_ids(number)))


class SameLuck(Problem):
    """A problem whose independent errors depend on the rounded λ."""

    def own_key(self, lam: float) -> int:
        return super().own_key(round(lam, 6))


def compare(method: str, key: Key, budget: int) -> Record:
    """Search one problem with both policies."""
    problem, ours = SameLuck(*key), OURS[method]
    rounded = run_ours(ours, problem, budget)
    unrounded = run_ours(ours, problem, budget, make_policy=UnroundedPolicy)
    return {
        **dict(zip(KEY, key, strict=True)),
        "method": method,
        "budget": budget,
        "rounded": regrets(problem, rounded),
        "unrounded": regrets(problem, unrounded),
        "moved": max(abs(a - b) for a, b in zip(rounded["lams"], unrounded["lams"], strict=True)),
        "same_stop": rounded["stop"] == unrounded["stop"],
        "same_coverage": [
            rounded["coverage"][n][name] == unrounded["coverage"][n][name]
            for n in rounded["coverage"]
            for name in ("lam", "value")
        ],
    }


def problems(seeds: int, families: Sequence[str]) -> Iterator[tuple[str, Key]]:
    """Yield method and problem, seed by seed."""
    for seed, method in product(range(seeds), METHODS):
        for family, noise, stderr in product(families, OURS[method].noises, STDERRS):
            yield method, (family, noise, stderr, seed)


def load_rows(path: Path, budget: int) -> dict[str, Records]:
    """Return what an interrupted run has written, by method."""
    found: dict[str, Records] = {method: {} for method in METHODS}
    for row in lines(path):
        if row["budget"] == budget:
            found[row["method"]][tuple(row[name] for name in KEY)] = row
    return found


def totals(rows: Sequence[Record]) -> dict[str, int]:
    """Count the runs with the same λs but for rounding, and with the same regrets as printed."""
    changes = [np.abs(np.subtract(row["rounded"], row["unrounded"])).max() for row in rows]
    return {
        "runs": len(rows),
        "same_lams": sum(row["moved"] < SAME_LAM for row in rows),
        "same_regrets": sum(bool(change < SAME_REGRET) for change in changes),
    }


def summarize(rows: dict[str, Records]) -> list[dict[str, Any]]:
    """Return a row per method, noise, standard error and number of evaluations."""
    summaries = []
    for method, noise, stderr in product(METHODS, ("independent", "images"), STDERRS):
        chosen = {k: r for k, r in rows[method].items() if k[1:3] == (noise, stderr)}
        if not chosen:
            continue
        budget = next(iter(chosen.values()))["budget"]
        for n in (n for n in AT if n <= budget):
            place = {"method": method, "noise": noise, "stderr": stderr, "n": n}
            summaries.append({**place, **difference(chosen, n), **agreement(chosen)})
    return summaries


def difference(rows: Records, n: int) -> dict[str, float]:
    """Return mean regrets × 1000, and the paired difference with its standard error."""
    at = n - INITIAL
    means = {
        name: mean_and_error({k: 1000 * row[name][at] for k, row in rows.items()})
        for name in ("rounded", "unrounded")
    }
    paired = {k: 1000 * (row["rounded"][at] - row["unrounded"][at]) for k, row in rows.items()}
    found = mean_and_error(paired)
    return {
        "runs": len(rows),
        "seeds": found.seeds,
        "rounded": means["rounded"].value,
        "unrounded": means["unrounded"].value,
        "difference": found.value,
        "error": found.error,
        "median": float(np.median(np.abs(list(paired.values())))),
        "largest": max(map(abs, paired.values())),
    }


def agreement(rows: Records) -> dict[str, float]:
    """Return the shares of runs, in %, that stop alike and whose intervals agree on the truth."""
    covered = [same for row in rows.values() for same in row["same_coverage"]]
    return {
        "same_stop": 100 * float(np.mean([row["same_stop"] for row in rows.values()])),
        "same_coverage": 100 * float(np.mean(covered)) if covered else 100.0,
    }


def report(summaries: list[dict[str, Any]]) -> None:
    rows = {
        f"{row['method']}, {row['noise']}, s={row['stderr']:g}, n={row['n']}": [
            f"{row['rounded']:.2f}",
            f"{row['unrounded']:.2f}",
            f"{row['difference']:+.3f} ± {row['error']:.3f}",
            f"{row['median']:.4f}",
            f"{row['largest']:.2f}",
            f"{row['same_stop']:.0f} %",
            f"{row['same_coverage']:.0f} %",
        ]
        for row in summaries
    }
    columns = ["rounded", "unrounded", "mean difference ± standard error"]
    columns += ["median |difference|", "largest", "stop alike", "intervals agree"]
    seeds = max((row["seeds"] for row in summaries), default=0)
    print(table(f"Regret × 1000 with and without rounding, {seeds} seeds", columns, rows))


def main(
    seeds: int = 3,
    budget: int = BUDGET,
    output: str = "rounding.json",
    families: Sequence[str] = REAL_FAMILIES,
) -> list[dict[str, Any]]:
    prepare()
    path = Path(output)
    runs = path.with_suffix(".jsonl")
    stored = load_rows(runs, budget)
    rows: dict[str, Records] = {method: {} for method in METHODS}
    with runs.open("a") as file:
        for method, key in problems(seeds, families):
            row = stored[method].get(key)
            if row is None:
                row = compare(method, key, budget)
                file.write(json.dumps(row) + "\n")
                file.flush()
            rows[method][key] = row
    summaries = summarize(rows)
    about = header(f"python -m examples.benchmarks.rounding --seeds {seeds}")
    about |= totals([row for found in rows.values() for row in found.values()])
    path.write_text(f"{json.dumps(about)[:-1]},\n{by_line('rows', summaries)}\n}}\n")
    report(summaries)
    print(
        "\n{same_lams} of {runs} runs have the same λs, {same_regrets} the same regrets".format(
            **about
        )
    )
    return summaries


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", default="rounding.json")
    main(**vars(parser.parse_args()))
