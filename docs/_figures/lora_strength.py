"""Merged weights against the exact mixture over λ, from the stored results of the benchmark.

python docs/_figures/lora_strength.py lora_strength.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

SOURCES = [Path(__file__).parents[2] / "examples" / "benchmarks" / "results" / "lora_strength.json"]
COLORS = {"beta250": "#c1440e", "beta500": "#2b5c8a", "beta2000": "#5b7553"}
EXACT = ({"lam": 0.0}, {"lam": 1.0})
"""Where both are one model, and every difference is 0."""


def main(output: Path) -> None:
    """Draw the figure."""
    rows = json.loads(SOURCES[0].read_text())["rows"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for anchor, color in COLORS.items():
        mine = sorted(
            [*(row for row in rows if row["anchor"] == anchor), *EXACT], key=lambda row: row["lam"]
        )
        lams = [row["lam"] for row in mine]
        values = [1000 * row.get("difference", 0.0) for row in mine]
        errors = [1960 * row.get("stderr", 0.0) for row in mine]
        label = f"β = {anchor.removeprefix('beta')}"
        left.errorbar(lams, values, errors, color=color, capsize=2, marker="o", ms=4, label=label)
        distances = [row.get("distance", 0.0) for row in mine]
        right.plot(lams, distances, color=color, marker="o", ms=4, label=label)
    left.axhline(0, color="gray", linewidth=0.8)
    left.set_ylabel("mean PickScore, merged − mixture\n(thousandths, ± 1.96 stderr)")
    right.set_ylabel("image distance, merged to mixture\n(RMS of pixels in [0, 1])")
    for axes in (left, right):
        axes.set_xlabel("λ    (0 = reference, 1 = aligned)")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    figure.savefig(output)
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
