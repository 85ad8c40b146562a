"""Why two λs are compared on the same images, from the miniature world's stored scores.

    python docs/_figures/paired_images.py paired_images.svg

draws the figure and prints every number that `docs/explanation/image-noise.md` quotes.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

SOURCES = [Path(str(files("lamsearch") / "miniature" / "reference_scores.npz"))]

IMAGES = 64
REPEATS = 5000
SHOWN = 25
LOW, HIGH = 0.45, 0.65

ONE, MEAN, PAIRED, UNPAIRED = "#9aa5b1", "#1a1a1a", "#1f6fb4", "#d9822b"

Array = NDArray[np.float64]


def load() -> tuple[Array, Array]:
    """Return the λs (21,) and one PickScore per λ and image (21, 1000)."""
    with np.load(SOURCES[0]) as stored:
        return stored["lam"], stored["pickscore"].astype(np.float64)


def at_both(lams: Array, scores: Array) -> tuple[Array, Array]:
    """Return the scores (1000,) at the two λs that are compared."""
    low, high = (scores[np.abs(lams - lam).argmin()] for lam in (LOW, HIGH))
    return low, high


def differences(low: Array, high: Array) -> tuple[Array, Array]:
    """Return REPEATS estimates of mean(low) − mean(high) from 64 images a side: paired, unpaired.

    Args:
        low: (1000,) scores at one λ.
        high: (1000,) scores of the same images at another.
    """
    draws = np.random.default_rng(0)
    first = draws.integers(0, len(low), (REPEATS, IMAGES))
    second = draws.integers(0, len(low), (REPEATS, IMAGES))
    at_low = low[first].mean(axis=1)
    return at_low - high[first].mean(axis=1), at_low - high[second].mean(axis=1)


def main(output: Path) -> None:
    """Draw the figure."""
    lams, scores = load()
    low, high = at_both(lams, scores)
    paired, unpaired = differences(low, high)
    # Text as paths: the same picture with any fonts, and no date or random ids in the file.
    with plt.rc_context({"font.size": 9, "svg.hashsalt": "lamsearch", "svg.fonttype": "path"}):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.5, 3.4), layout="constrained")
        _curves(left, lams, scores, f"{SHOWN} images, as scored")
        _curves(middle, lams, scores - scores.mean(axis=0), "the same, each minus its own mean")
        middle.sharey(left)
        left.set_ylabel("PickScore (the mean over images at 0)")
        _estimates(right, paired, unpaired, (low - high).mean())
        figure.savefig(output, metadata={"Date": None} if output.suffix == ".svg" else {})
    plt.close(figure)


def report() -> None:
    """Print the numbers behind the figure."""
    low, high = at_both(*load())
    paired, unpaired = differences(low, high)
    together = np.corrcoef(low, high)[0, 1]
    unrelated, related = low.var() + high.var(), (low - high).var()
    sys.stdout.write(
        f"standard deviation of one image's score: {low.std():.3f} and {high.std():.3f}\n"
        f"J({LOW}) - J({HIGH}), all images: {(low - high).mean():.4f}\n"
        f"correlation of the two scores of an image: {together:.2f}\n"
        f"standard error from {IMAGES} images: unpaired {np.sqrt(unrelated / IMAGES):.4f}, "
        f"paired {np.sqrt(related / IMAGES):.4f}\n"
        f"images needed for the same precision unpaired: {unrelated / related:.1f} times as many\n"
        f"wrong sign: unpaired {(unpaired < 0).mean():.0%}, paired {(paired < 0).mean():.0%}\n"
    )


def _curves(axes: Axes, lams: Array, scores: Array, title: str) -> None:
    scores = scores - scores.mean()
    axes.plot(lams, scores[:, :SHOWN], color=ONE, linewidth=0.7)
    axes.plot(lams, scores.mean(axis=1), color=MEAN, linewidth=2)
    axes.set(title=title, xlabel="λ", xlim=(0, 1))


def _estimates(axes: Axes, paired: Array, unpaired: Array, truth: float) -> None:
    bins = np.linspace(*np.quantile(unpaired, (0.001, 0.999)), 60)
    for values, colour, label in (
        (unpaired, UNPAIRED, "other images at each λ"),
        (paired, PAIRED, "the same images"),
    ):
        axes.hist(values, bins, density=True, color=colour, alpha=0.7, label=label)
    axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    axes.axvline(truth, color="black", linewidth=1.2, label="all 1,000 images")
    axes.set(title=f"J({LOW}) − J({HIGH}) from {IMAGES} images", xlabel="difference", yticks=[])
    axes.set_ylim(top=axes.get_ylim()[1] * 1.45)
    axes.legend(fontsize=8, loc="upper left", framealpha=1, edgecolor="none")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    report()
