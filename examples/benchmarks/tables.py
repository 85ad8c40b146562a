"""Parts of the benchmark's tables: Markdown, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from examples.benchmarks.records import Cell, Runs
from examples.benchmarks.regret import Difference, Mean


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


def pools(runs: Runs, ours: str) -> dict[str, list[str]]:
    """Return the kinds of noise that the method has met: all together, and each on its own."""
    met = {key[1] for key in runs.results.get(ours, {})}
    noises = [noise for noise in dict.fromkeys(noise for noise, _ in runs.cells) if noise in met]
    together = {"all noise": noises} if len(noises) > 1 else {}
    return together | {noise: [noise] for noise in noises}
