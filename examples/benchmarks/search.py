"""Regret of our search and of its peers on curves whose maximum is known.

    export OMP_NUM_THREADS=1
    alias search="python -m examples.benchmarks.search --output runs"
    search --methods ours-auto-matern ours-rotating-matern paper grid golden tpe gpsampler
    search --methods paper grid golden --rule our-matern
    search --speed
    search --report --summary summary.json

Regret is what J loses at a method's answer against its maximum, in units of J's range. The curves
are in `curves.py`, the noise in `problems.py`, our search in `ours.py`, the peers in `peers.py`.
One file per method and rule holds one record per line; stored runs are not computed again. The rule
"own" is the method's own answer; "our-rbf" and "our-matern" answer by our surrogate and
recommendation on what a peer evaluated. They need the peer's own records, which contain its λs:
delete their files when our rule has changed.

The figures in `results/search.json` were measured by a version whose proposals were not rounded;
`rounding.py` shows what that changes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import optuna
import torch

from examples.benchmarks.curves import CALIBRATION_FAMILIES, FAMILIES
from examples.benchmarks.details import details
from examples.benchmarks.ours import OURS, SPEED_KINDS, seconds_per_suggestion
from examples.benchmarks.records import (
    Record,
    Records,
    Runs,
    header,
    headers,
    load,
    open_for,
    path_of,
    sources,
)
from examples.benchmarks.report import Speed, compact, sources_text, speed_table
from examples.benchmarks.summary import summary
from examples.benchmarks.tasks import METHODS, RULES, Task, run

BUDGET = 12
COMPARED = "ours-auto-matern"
SEED_LIMITS = {"qlognei": 20, "ax": 10}
"""Slow peers meet only this many seeds; comparisons with them are paired on these."""
SPEED_AT = (12, 100)


def tasks_left(method: str, options: argparse.Namespace) -> list[Task]:
    """Return the runs that are not stored yet, seed by seed.

    So an interrupted run has met every kind of problem.
    """
    if options.rule != "own" and method in (*OURS, "grid_gp"):
        return []  # our rule on our own λs is the method itself, and grid_gp has those of grid
    done = load(path_of(options.output, method, options.rule), options.budget)
    own = load(path_of(options.output, method, "own"), options.budget)
    seeds = range(min(options.seeds, SEED_LIMITS.get(method, options.seeds)))
    noises = OURS[method].noises if method in OURS else options.noise
    kinds = problem_kinds(method, options.families, [n for n in options.noise if n in noises])
    tasks = []
    for seed, (family, noise), stderr in product(seeds, kinds, options.stderr):
        key = family, noise, stderr, seed
        if key not in done and (options.rule == "own" or key in own):
            lams = own[key].get("lams") if options.rule != "own" else None
            tasks.append(Task(method, options.rule, key, options.budget, lams))
    return tasks


def problem_kinds(
    method: str, families: Sequence[str], noises: Sequence[str]
) -> list[tuple[str, str]]:
    """Return families and noises, of the calibration families only that of the method's prior."""
    own = CALIBRATION_FAMILIES[OURS[method].kernel] if method in OURS else None
    others = set(CALIBRATION_FAMILIES.values()) - {own}
    return list(product([family for family in families if family not in others], noises))


def prepare() -> None:
    """Set up a process: one thread, and no log lines."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def run_all(tasks: list[Task], processes: int) -> Iterator[Record]:
    if processes == 1:
        yield from map(run, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(processes, prepare) as pool:
        yield from pool.imap_unordered(run, tasks)


def minutes(tasks: list[Task]) -> float:
    """Estimate the minutes of all tasks from some of them, spread over the problems."""
    run(tasks[0])  # the first run also loads libraries
    sample = {int(i) for i in np.linspace(0, len(tasks) - 1, 7)}
    return np.mean([run(tasks[i])["seconds"] for i in sample]) * len(tasks) / 60


def run_method(method: str, options: argparse.Namespace, command: str) -> None:
    tasks = tasks_left(method, options)
    if not tasks:
        return
    print(f"{method}: {len(tasks)} runs, about {minutes(tasks):.0f} min of one core", flush=True)
    with open_for(path_of(options.output, method, options.rule), command) as file:
        for record in run_all(tasks, options.processes):
            file.write(json.dumps(record) + "\n")
            file.flush()


def load_all(rule: str, options: argparse.Namespace) -> dict[str, Records]:
    """Return the chosen problems' records: ours by their own rule, the peers by the given one."""
    results = {}
    for method in METHODS:
        path = path_of(options.output, method, "own" if method in OURS else rule)
        records = load(path, options.budget)
        chosen = [k for k in records if k[0] in options.families and k[3] < options.seeds]
        if chosen:
            results[method] = {key: records[key] for key in chosen}
    return results


def compared(ours: str) -> list[str]:
    """Return the method, and the one with its kernel and a rotating plan."""
    return list(dict.fromkeys([ours, f"ours-rotating-{OURS[ours].kernel}"]))


def report(options: argparse.Namespace) -> None:
    results = load_all("own", options)
    if not results:
        print(f"no records in {options.output}")
        return
    cells = list(product(options.noise, options.stderr))
    runs = Runs(results, cells, options.budget, compared(options.ours))
    speed, written = load_speed(options.output), written_by(options)
    blocks = compact(runs, speed)
    if options.full:
        by_rule = {rule: peers_by(rule, options) for rule in RULES}
        blocks += details(runs, {rule: peers for rule, peers in by_rule.items() if peers})
    text = "\n\n".join([*blocks, sources_text(written)])
    print(text)
    if options.report:
        (options.output / "report.md").write_text(f"# Search benchmark\n\n{text}\n")
    if options.summary:
        options.summary.write_text(summary(runs, speed, written))


def peers_by(rule: str, options: argparse.Namespace) -> dict[str, Records]:
    return {name: r for name, r in load_all(rule, options).items() if name not in OURS}


def written_by(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the commands and versions that wrote the records of the report."""
    rules = RULES if options.full else ("own",)
    paths = [path_of(options.output, *file) for file in product(METHODS, rules)]
    return sources([line for path in paths for line in headers(path)])


def load_speed(folder: Path) -> Speed:
    path = folder / "speed.json"
    return json.loads(path.read_text())["seconds"] if path.is_file() else {}


def measure_speed(folder: Path, command: str) -> None:
    seconds = {
        method: {
            kind: {str(n): round(seconds_per_suggestion(ours, n, kind), 4) for n in SPEED_AT}
            for kind in SPEED_KINDS
        }
        for method, ours in OURS.items()
    }
    stored = json.dumps({**header(command), "seconds": seconds}, indent=1)
    (folder / "speed.json").write_text(stored + "\n")
    print(speed_table(seconds))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[COMPARED])
    parser.add_argument("--rule", choices=RULES, default="own")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    noises = ["independent", "images"]
    parser.add_argument("--noise", nargs="+", choices=noises, default=noises)
    parser.add_argument("--stderr", nargs="+", type=float, default=[0.3, 0.1, 0.03])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("search-runs"))
    parser.add_argument("--ours", choices=OURS, default=COMPARED, help="compared with the peers")
    only = "only print the stored records, and write them to OUTPUT/report.md"
    parser.add_argument("--report", action="store_true", help=only)
    parser.add_argument("--full", action="store_true", help="a longer report")
    parser.add_argument("--summary", type=Path, help="write the report's figures to this JSON file")
    parser.add_argument("--speed", action="store_true", help="only time our suggestions")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    prepare()
    given = sys.argv[1:] if arguments is None else arguments
    command = f"python -m examples.benchmarks.search {shlex.join(given)}"
    options.output.mkdir(parents=True, exist_ok=True)
    if options.speed:
        measure_speed(options.output, command)
        return
    for method in [] if options.report else options.methods:
        if method == "ax" and not find_spec("ax"):
            print("Ax is left out: it is not installed (pip install ax-platform)")
            continue
        run_method(method, options, command)
    report(options)


if __name__ == "__main__":
    main()
