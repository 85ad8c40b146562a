"""What the compact report leaves out: coverage by noise level, and peers under our rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from examples.benchmarks.curves import FAMILIES
from examples.benchmarks.ours import OURS
from examples.benchmarks.records import Cell, Key, Record, Records, Runs
from examples.benchmarks.regret import Comparison, goals
from examples.benchmarks.report import best_peer_table, regret_tables
from examples.benchmarks.tables import difference_text, named, table


def details(runs: Runs, peers_by_rule: Mapping[str, dict[str, Records]]) -> Iterator[str]:
    """Yield blocks of Markdown; the peers' records are given for each rule."""
    yield "## Coverage in detail"
    for method, n in product((m for m in OURS if m in runs.results), ("6", "12")):
        yield coverage_table(runs, method, n)
    ours = {name: records for name, records in runs.results.items() if name in OURS}
    for rule, peers in peers_by_rule.items():
        by_rule = runs._replace(results=ours | peers)
        yield f"## Peers' answers by the rule: {rule}"
        yield from regret_tables(by_rule)
        yield from comparison_tables(by_rule)


def comparison_tables(runs: Runs) -> list[str]:
    """Return paired differences of our first method from all others; the goals come last."""
    ours = runs.ours[0]
    if ours not in runs.results:
        return []
    early = min(6, runs.budget)
    equal = Comparison(early, early, 1), Comparison(runs.budget, runs.budget, 1)
    tables = [comparison_table(runs, ours, c) for c in (*equal, *goals(runs.budget))]
    return [*tables, best_peer_table(runs)]


def comparison_table(runs: Runs, ours: str, comparison: Comparison) -> str:
    rows = {}
    for other, records in runs.results.items():
        if other != ours:
            found = [comparison.interval(runs.results[ours], records, [c]) for c in runs.cells]
            rows[other] = [difference_text(difference) for difference in found]
    title = f"{ours}: {comparison.text('−')}, × 1000, with 95 % interval"
    return table(title, named(runs.cells), rows)


def coverage_table(runs: Runs, method: str, n: str) -> str:
    rows = {}
    for family in FAMILIES:
        found = [covers(runs.results[method], family, cell, n) for cell in runs.cells]
        if any(found):
            rows[family] = [describe(records) for records in found]
    title = f"{method} after {n}: 95 % intervals that contain λ* / J(λ*), in %, (width for λ*)"
    return table(title, named(runs.cells), rows)


def covers(records: Mapping[Key, Record], family: str, cell: Cell, n: str) -> list[Record]:
    chosen = [record for key, record in records.items() if key[:3] == (family, *cell)]
    return [record["coverage"][n] for record in chosen if n in record["coverage"]]


def describe(records: list[Record]) -> str:
    if not records:
        return "–"
    means = {name: np.mean([record[name] for record in records]) for name in records[0]}
    return f"{100 * means['lam']:.0f} / {100 * means['value']:.0f} ({means['lam_width']:.2f})"
