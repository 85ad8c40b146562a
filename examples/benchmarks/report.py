"""The benchmark's tables for people, in Markdown: goals, verdicts, coverage, stops, speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from calibration import REAL_FAMILIES, Stops, coverage, last_covered, missed, prior_of, stops
from ours import OURS
from records import Cell, Runs
from regret import Comparison, Difference, Mean, against_peers, goals, mean_and_error, regrets

SHOWN_AT = (6, 8, 12)

Speed: TypeAlias = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Method → kind of data → number of evaluations → seconds for one suggestion."""


def table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [f"{title}\n", f"| | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(row)} |" for name, row in rows.items())])


def named(cells: Sequence[Cell]) -> list[str]:
    return [f"{noise}, s={stderr:g}" for noise, stderr in cells]


def mean_text(mean: Mean, digits: int = 1) -> str:
    if not mean.seeds:
        return "–"
    error = "" if math.isnan(mean.error) else f" ± {mean.error:.{digits}f}"
    return f"{mean.value:.{digits}f}{error}"


def difference_text(difference: Difference) -> str:
    if math.isnan(difference.value):
        return "–"
    half = "?" if math.isnan(difference.half) else f"{difference.half:.1f}"
    return f"{difference.value:+.1f} ± {half}"


def seeds_of(means: Sequence[Mean]) -> int:
    return max((mean.seeds for mean in means), default=0)


def compact(runs: Runs, speed: Speed) -> list[str]:
    """The report: blocks of Markdown."""
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
    """Against the best peer, for each goal and standard error; then against each peer."""
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


def pools(runs: Runs, ours: str) -> dict[str, list[str]]:
    """Noise kinds to be taken together, and each on its own, that the method has met."""
    met = {key[1] for key in runs.results.get(ours, {})}
    noises = [noise for noise in dict.fromkeys(noise for noise, _ in runs.cells) if noise in met]
    together = {"all noise": noises} if len(noises) > 1 else {}
    return together | {noise: [noise] for noise in noises}


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
    """Where the regrets come from: the first of our methods, and the best peer of each cell.

    The best peer is that of the verdicts; its seeds may be fewer.
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


def method_noises(runs: Runs) -> list[tuple[str, list[Cell]]]:
    """Our compared methods with the cells of each noise kind that they have met."""
    return [
        (ours, [cell for cell in runs.cells if cell[0] == noise])
        for ours in runs.ours
        for label, (noise, *more) in pools(runs, ours).items()
        if not more
    ]


def coverage_tables(runs: Runs) -> list[str]:
    n, columns = last_covered(runs.budget), method_noises(runs)
    if n is None or not columns:
        return []
    groups = {family: [family] for family in REAL_FAMILIES} | {"all of these": REAL_FAMILIES}
    rows = {
        name: [coverage_text(runs, *column, families, n) for column in columns]
        for name, families in groups.items()
    }
    rows["drawn from its prior"] = [
        coverage_text(runs, method, cells, [prior_of(method)], n) for method, cells in columns
    ]
    title = (
        f"Share of the 95 % intervals after {n} evaluations that hold the truth, in % ± standard "
        "error: of λ* / of J(λ*)"
    )
    cost = "What a missed λ* costs: 1000 × regret at the interval's nearest λ, mean (worst)"
    missed_rows = {
        name: [missed_text(runs, *column, families, n) for column in columns]
        for name, families in groups.items()
    }
    headings = [f"{method}, {cells[0][0]}" for method, cells in columns]
    return [table(title, headings, rows), table(cost, headings, missed_rows)]


def missed_text(runs: Runs, method: str, cells: list[Cell], families: list[str], n: str) -> str:
    found = missed(runs.results[method], families, cells, n=n)
    return f"{found.mean:.1f} ({found.worst:.1f})" if found.count else "–"


def coverage_text(runs: Runs, method: str, cells: list[Cell], families: list[str], n: str) -> str:
    records = runs.results[method]
    shares = [coverage(records, families, cells, n=n, truth=name) for name in ("lam", "value")]
    return " / ".join(mean_text(share, 0) for share in shares) if shares[0].seeds else "–"


def stop_tables(runs: Runs) -> list[str]:
    columns = method_noises(runs)
    return [stop_table(runs, columns), right_table(runs, columns)] if columns else []


def stop_table(runs: Runs, columns: list[tuple[str, list[Cell]]]) -> str:
    rows = {
        f"{method}, {noise}, s={stderr:g}": stop_row(
            stops(runs.results[method], REAL_FAMILIES, [(noise, stderr)])
        )
        for method, cells in columns
        for noise, stderr in cells
    }
    headings = ["stopped, of the runs", "right, of the stops", "mean evaluations at the stop"]
    return table("The stopping rule (ε = 5 % of the fitted range, confidence 90 %)", headings, rows)


def right_table(runs: Runs, columns: list[tuple[str, list[Cell]]]) -> str:
    methods = list(dict.fromkeys(method for method, _ in columns))
    drawn = {family: dict.fromkeys(methods, family) for family in REAL_FAMILIES}
    drawn["drawn from its prior"] = {method: prior_of(method) for method in methods}
    rows = {}
    for name, families in drawn.items():
        found = [stops(runs.results[m], [family], runs.cells) for m, family in families.items()]
        rows[name] = [share_text(stop.right, stop.stopped) for stop in found]
    return table("Stops that were right, over all noise levels", methods, rows)


def stop_row(found: Stops) -> list[str]:
    at = f"{found.evaluations:.1f}" if found.stopped else "–"
    return [share_text(found.stopped, found.runs), share_text(found.right, found.stopped), at]


def share_text(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} % of {whole}" if whole else "–"


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
    """The commands and the versions that the records come from."""
    versions = [f"{name} {' / '.join(v)}" for name, v in found.items() if name != "command"]
    commands = "\n".join(f"    {command}" for command in found.get("command", []))
    return f"## Sources\n\n{', '.join(versions)}\n\n{commands}"
