"""The figures of a report as a small JSON file, which is kept where the records are not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from examples.benchmarks.calibration import (
    REAL_FAMILIES,
    coverage,
    last_covered,
    missed,
    prior_of,
    stops,
)
from examples.benchmarks.ours import OURS
from examples.benchmarks.records import INITIAL, Cell, Runs
from examples.benchmarks.regret import against_peers, goals, mean_and_error, regrets
from examples.benchmarks.report import Speed
from examples.benchmarks.tables import pools

Row: TypeAlias = dict[str, Any]


def summary(runs: Runs, speed: Speed, sources: Mapping[str, Sequence[str]]) -> str:
    """Return JSON: regrets × 1000, coverage in %, goals and stops, with their standard errors."""
    lists = {
        "regret": [row for method in runs.results for row in regret_rows(runs, method)],
        "goals": [row for ours in runs.ours for row in goal_rows(runs, ours)],
        "coverage": [row for method in _ours(runs) for row in coverage_rows(runs, method)],
        "stops": [row for method in _ours(runs) for row in stop_rows(runs, method)],
        "seconds": [
            {"method": method, "data": kind, **row}
            for method, kinds in speed.items()
            for kind, row in kinds.items()
        ],
        "commands": list(sources.get("command", [])),
    }
    versions = {name: list(found) for name, found in sources.items() if name != "command"}
    parts = [f'"versions": {json.dumps(versions)}', *(by_line(*item) for item in lists.items())]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def regret_rows(runs: Runs, method: str) -> list[Row]:
    rows = []
    counts = range(INITIAL, runs.budget + 1)
    for cell in runs.cells:
        found = [mean_and_error(regrets(runs.results[method], n, [cell])) for n in counts]
        if found[0].seeds:
            means, errors = [f.value for f in found], [f.error for f in found]
            place = {"method": method, **_place(cell), "seeds": found[0].seeds}
            rows.append({**place, "n": list(counts), "mean": means, "error": errors})
    return rows


def goal_rows(runs: Runs, ours: str) -> list[Row]:
    """Return paired differences, with half of their 95 % interval; `noise` may be "all noise"."""
    return [
        {"ours": ours, "goal": goal.text("<"), "noise": label, "stderr": stderr, "peer": peer}
        | {"difference": found.value, "half": found.half, "verdict": found.verdict}
        for goal in goals(runs.budget)
        for label, noises in pools(runs, ours).items()
        for stderr in dict.fromkeys(stderr for _, stderr in runs.cells)
        for peer, found in against_peers(
            goal, runs, ours, [(noise, stderr) for noise in noises]
        ).items()
    ]


def coverage_rows(runs: Runs, method: str) -> list[Row]:
    rows, records, n = [], runs.results[method], last_covered(runs.budget)
    for place, families, cells in _groups(runs, method) if n else []:
        lam, value = (coverage(records, families, cells, n=n, truth=t) for t in ("lam", "value"))
        found = {"lam": [lam.value, lam.error], "value": [value.value, value.error]}
        found |= {"missed": list(missed(records, families, cells, n=n))}
        rows.append({**place, "n": int(n), "seeds": lam.seeds, **found})
    return [row for row in rows if row["seeds"]]


def stop_rows(runs: Runs, method: str) -> list[Row]:
    groups, records = _groups(runs, method), runs.results[method]
    rows = [{**place, **stops(records, *group)._asdict()} for place, *group in groups]
    return [row for row in rows if row["runs"]]


def _groups(runs: Runs, method: str) -> Iterator[tuple[Row, list[str], list[Cell]]]:
    """Yield all real families together at each cell, then each family over the standard errors."""
    for cell in runs.cells:
        yield {"method": method, "family": "all but priors", **_place(cell)}, REAL_FAMILIES, [cell]
    for family in (*REAL_FAMILIES, prior_of(method)):
        for noise in dict.fromkeys(noise for noise, _ in runs.cells):
            cells = [cell for cell in runs.cells if cell[0] == noise]
            stderrs = [stderr for _, stderr in cells]
            place = {"method": method, "family": family, "noise": noise, "stderr": stderrs}
            yield place, [family], cells


def _ours(runs: Runs) -> list[str]:
    return [method for method in runs.results if method in OURS]


def _place(cell: Cell) -> Row:
    return dict(zip(("noise", "stderr"), cell, strict=True))


def by_line(name: str, rows: Sequence[Any]) -> str:
    """Return a JSON list under a name, with one row per line."""
    lines = ",\n".join("  " + json.dumps(_plain(row), ensure_ascii=False) for row in rows)
    return f'"{name}": [\n{lines}\n]'


def _plain(value: Any) -> Any:
    """Return a value rounded, and None for NaN, which JSON does not have."""
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
