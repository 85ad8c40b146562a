"""The benchmark's tables of coverage and stops."""

from __future__ import annotations

from examples.benchmarks.calibration import (
    REAL_FAMILIES,
    Stops,
    coverage,
    last_covered,
    missed,
    prior_of,
    stops,
)
from examples.benchmarks.records import Cell, Runs
from examples.benchmarks.tables import mean_text, pools, table


def method_noises(runs: Runs) -> list[tuple[str, list[Cell]]]:
    """Return our compared methods, each with the cells of one kind of noise that it has met."""
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
        f"Share of the 95 % intervals after {n} evaluations that contain the truth, in % ± "
        "standard error: of λ* / of J(λ*)"
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
