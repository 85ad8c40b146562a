"""The benchmark's tables in Markdown: goals, verdicts, coverage, stops, speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from examples.benchmarks.calibration import REAL_FAMILIES
from examples.benchmarks.calibration_tables import coverage_tables, stop_tables
from examples.benchmarks.ours import OURS
from examples.benchmarks.records import Cell, Runs
from examples.benchmarks.regret import (
    Comparison,
    Difference,
    Mean,
    against_peers,
    goals,
    mean_and_error,
    regrets,
)
from examples.benchmarks.tables import difference_text, mean_text, named, pools, seeds_of, table

SHOWN_AT = (6, 8, 12)

Speed: TypeAlias = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Method → kind of data → number of evaluations → seconds per suggestion."""


def compact(runs: Runs, speed: Speed) -> list[str]:
    """Return the report as blocks of Markdown."""
    shown = {method: speed[method] for method in runs.ours if method in speed}
    sections = {
        "Goals": [goal_table(runs, goal) for goal in goals(runs.budget)],
        "Verdicts": verdict_tables(runs),
        "Regrets": [*regret_tables(runs), *family_tables(runs)],
        "Coverage": coverage_tables(runs),
        "Stops": stop_tables(runs),
        "Speed": [speed_table(shown)],
    }
    return [
        block for title, blocks in sections.items() if blocks for block in (f"## {title}", *blocks)
    ]


def goal_table(runs: Runs, goal: Comparison) -> str:
    rows = {}
    shown = {name: r for name, r in runs.results.items() if name in runs.ours or name not in OURS}
    for method, records in shown.items():
        n = goal.n if method in OURS else goal.n_peer
        means = [mean_and_error(regrets(records, n, [cell])) for cell in runs.cells]
        rows[f"{method}, n={n} ({seeds_of(means)} seeds)"] = [mean_text(mean) for mean in means]
    title = f"Goal: {goal.text('<')}. Mean regret × 1000 ± standard error"
    return table(title, named(runs.cells), rows)


def verdict_tables(runs: Runs) -> list[str]:
    """Return tables against the best peer, by goal and standard error, then against each peer."""
    met = [ours for ours in runs.ours if ours in runs.results]
    if not met or runs.results.keys() <= OURS.keys():
        return []
    single = [peers_table(runs, goal, ours) for goal in goals(runs.budget) for ours in met]
    return [best_peer_table(runs), *single]


def best_peer_table(runs: Runs) -> str:
    stderrs = list(dict.fromkeys(stderr for _, stderr in runs.cells))
    rows = {}
    for goal in goals(runs.budget):
        for ours in runs.ours:
            for label, noises in pools(runs, ours).items():
                pooled = [[(noise, stderr) for noise in noises] for stderr in stderrs]
                found = [against_peers(goal, runs, ours, cells) for cells in pooled]
                rows[f"{ours}, {label}: {goal.text('<')}"] = [best_peer_text(f) for f in found]
    title = (
        "Goals met against how many peers; the best peer, and ours less (its share of) its regret, "
        "× 1000, paired, with 95 % interval"
    )
    return table(title, [f"s={stderr:g}" for stderr in stderrs], rows)


def best_peer_text(found: Mapping[str, Difference]) -> str:
    if not found:
        return "–"
    met = sum(difference.verdict == "met" for difference in found.values())
    peer, worst = next(iter(found.items()))
    return f"{met} of {len(found)}; {peer}: {difference_text(worst)}, {worst.verdict}"


def peers_table(runs: Runs, goal: Comparison, ours: str) -> str:
    cells = [cell for cell in runs.cells if cell[0] in OURS[ours].noises]
    rows = {}
    for peer, records in runs.results.items():
        if peer not in OURS:
            found = [goal.interval(runs.results[ours], records, [cell]) for cell in cells]
            rows[peer] = [verdict_text(difference) for difference in found]
    title = f"{ours}: {goal.text('−')}, × 1000, paired, with 95 % interval"
    return table(title, named(cells), rows)


def verdict_text(difference: Difference) -> str:
    text = difference_text(difference)
    return text if text == "–" else f"{text}, {difference.verdict}"


def regret_tables(runs: Runs) -> list[str]:
    return [regret_table(runs, noise) for noise in dict.fromkeys(noise for noise, _ in runs.cells)]


def regret_table(runs: Runs, noise: str) -> str:
    cells = [cell for cell in runs.cells if cell[0] == noise]
    at = [(cell, n) for cell in cells for n in SHOWN_AT if n <= runs.budget]
    rows = {}
    for method, records in runs.results.items():
        means = [mean_and_error(regrets(records, n, [cell])) for cell, n in at]
        if seeds := seeds_of(means):
            rows[f"{method} ({seeds} seeds)"] = [mean_text(mean) for mean in means]
    columns = [f"s={stderr:g}, n={n}" for (_, stderr), n in at]
    return table(f"Regret × 1000 ± standard error, noise: {noise}", columns, rows)


def family_tables(runs: Runs) -> list[str]:
    """Return the regrets by family, of our first method and of the best peer of each cell.

    The best peer is the one of the verdicts; it may have fewer seeds.
    """
    ours, late_goal = runs.ours[0], goals(runs.budget)[1]
    if ours not in runs.results or runs.results.keys() <= OURS.keys():
        return []
    tables = []
    for noise in dict.fromkeys(noise for noise, _ in runs.cells):
        columns = []
        for cell in (cell for cell in runs.cells if cell[0] == noise):
            found = against_peers(late_goal, runs, ours, [cell])
            early, late = min(6, runs.budget), runs.budget
            columns += [(ours, early, cell), (ours, late, cell)]
            columns += [(best, late, cell) for best in [*found][:1]]
        rows = {
            family: [mean_text(family_regret(runs, *column, family)) for column in columns]
            for family in REAL_FAMILIES
        }
        headings = [
            f"{name} ({mean_and_error(regrets(runs.results[name], n, [cell])).seeds} seeds), "
            f"s={cell[1]:g}, n={n}"
            for name, n, cell in columns
        ]
        title = f"Regret × 1000 ± standard error by family, and the best peer's, noise: {noise}"
        tables.append(table(title, headings, rows))
    return tables


def family_regret(runs: Runs, method: str, n: int, cell: Cell, family: str) -> Mean:
    found = regrets(runs.results[method], n, [cell])
    return mean_and_error({key: value for key, value in found.items() if key[0] == family})


def speed_table(speed: Speed) -> str:
    measured = {
        f"{method}, {kind}": row for method, kinds in speed.items() for kind, row in kinds.items()
    }
    if not measured:
        return "Not measured yet: run with --speed."
    counts = list(next(iter(measured.values())))
    rows = {name: [f"{row[n]:.3f}" for n in counts] for name, row in measured.items()}
    title = "Seconds for one suggestion after n evaluations, on one core"
    return table(title, [f"n={n}" for n in counts], rows)


def sources_text(found: Mapping[str, Sequence[str]]) -> str:
    """Return the commands and the versions that the records come from, as text."""
    versions = [f"{name} {' / '.join(v)}" for name, v in found.items() if name != "command"]
    commands = "\n".join(f"    {command}" for command in found.get("command", []))
    return f"## Sources\n\n{', '.join(versions)}\n\n{commands}"
