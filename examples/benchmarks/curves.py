"""Families of curves J(λ) on [0, 1]: each draws a curve, in any units, from a generator.

A reward may have such shapes between the reference (λ = 0) and a strongly aligned model. `table2`
is the paper's, `miniature` that of the world which version 0.1 bundled, so that stored results stay
comparable; `prior_...` is drawn from the surrogate's prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from lamsearch.surrogate import hyperparameters

Array: TypeAlias = NDArray[np.float64]
Curve: TypeAlias = Callable[[Array], Array]

LINE = np.linspace(0, 1, 2001)
"""Points on which a curve's maximum and minimum are searched."""

TABLE2_BETA = (10000, 8000, 5000, 2000, 1000, 500)
TABLE2 = {
    "pickscore": (0.2308, 0.2312, 0.2311, 0.2313, 0.2314, 0.2273),
    "hps": (0.2903, 0.2910, 0.2916, 0.2921, 0.2919, 0.2869),
    "clip": (0.3752, 0.3751, 0.3763, 0.3752, 0.3757, 0.3628),
}
"""The models aligned from scratch of arXiv 2601.20198, Table 2 ("actual")."""

KERNELS: dict[str, Callable[[Array, float], Array]] = {
    "rbf": lambda distance, lengthscale: np.exp(-(distance**2) / (2 * lengthscale**2)),
    "matern": lambda distance, lengthscale: _matern(math.sqrt(5) * distance / lengthscale),
}
"""Correlation at a distance in λ, as in `lamsearch.surrogate.prior`."""
NODES = {"rbf": 61, "matern": 121}
"""Numbers of nodes that make a draw's covariance exact to 5e-4, for lengthscales from 0.08."""


def _matern(r: Array) -> Array:
    return (1 + r + r**2 / 3) * np.exp(-r)


@lru_cache
def gp_basis(lengthscale: float, kernel: str = "rbf") -> CubicSpline:
    """Return λ → (k,) whose product with k standard normals is a draw from the process."""
    nodes = np.linspace(0, 1, NODES[kernel])
    covariance = KERNELS[kernel](np.abs(nodes[:, None] - nodes), lengthscale)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    kept = eigenvalues > 1e-9
    return CubicSpline(nodes, vectors[:, kept] * np.sqrt(eigenvalues[kept]))


def _gp_draw(rng: Generator, lengthscale: float, kernel: str = "rbf") -> Curve:
    basis = gp_basis(lengthscale, kernel)
    weights = rng.standard_normal(basis.c.shape[-1])
    return lambda lam: basis(lam) @ weights


def _peak(lam: Array, centre: float, width: float) -> Array:
    return np.exp(-(((lam - centre) / width) ** 2) / 2)


def _bump(rng: Generator) -> Curve:
    centre, width = rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.3)
    return lambda lam: _peak(lam, centre, width)


def _collapse(rng: Generator) -> Curve:
    """Draw a slow rise, then a fall within a short stretch of λ, as reward hacking has it."""
    bend, centre = rng.uniform(1, 8), rng.uniform(0.4, 0.9)
    width, depth = rng.uniform(0.03, 0.08), rng.uniform(0.8, 2)
    rise = math.log1p(bend)
    return lambda lam: np.log1p(bend * lam) / rise - depth / (1 + np.exp((centre - lam) / width))


def _saturating(rng: Generator) -> Curve:
    rate = rng.uniform(2, 8)
    return lambda lam: -np.exp(-rate * lam)


def _gp(rng: Generator) -> Curve:
    return _gp_draw(rng, rng.choice((0.1, 0.15, 0.2, 0.3, 0.5)))


def _flat(rng: Generator) -> Curve:
    """Draw a plateau within 5 % of the best with a faint bump on it, and one low end."""
    edge, height = rng.uniform(0.03, 0.06), rng.uniform(0.01, 0.05)
    centre, width, mirrored = rng.uniform(0.3, 0.9), rng.uniform(0.1, 0.3), rng.random() < 0.5
    return lambda lam: _plateau(1 - lam if mirrored else lam, edge, height, centre, width)


def _plateau(lam: Array, edge: float, height: float, centre: float, width: float) -> Array:
    return height * _peak(lam, centre, width) - np.exp(-lam / edge)


def _two_peaks(rng: Generator) -> Curve:
    centres = rng.uniform(0.1, 0.35), rng.uniform(0.6, 0.9)
    heights = rng.permutation([1, rng.uniform(0.7, 0.97)])
    widths = rng.uniform(0.06, 0.14, size=2)
    peaks = list(zip(heights, centres, widths, strict=True))
    return lambda lam: sum((h * _peak(lam, c, w) for h, c, w in peaks), np.zeros_like(lam))


def _kink(rng: Generator) -> Curve:
    """Draw a piecewise linear curve with one corner on either side of the maximum."""
    top = rng.uniform(0.2, 0.8)
    knots = [0, top * rng.uniform(0.3, 0.7), top, top + (1 - top) * rng.uniform(0.3, 0.7), 1]
    values = [rng.uniform(0, 0.3), rng.uniform(0.4, 0.8), 1, rng.uniform(0.4, 0.8), 0]
    # Rounded to points of LINE, so that the maximum is one of them.
    return lambda lam: np.interp(lam, np.round(knots, 3), values)


def _at_0(rng: Generator) -> Curve:
    """Draw a fall, with a bump on the way that never reaches the value at 0."""
    power, height = rng.uniform(1, 3), rng.uniform(0, 0.35)
    centre, width = rng.uniform(0.45, 0.9), rng.uniform(0.05, 0.2)
    return lambda lam: (1 - lam) ** power + height * _peak(lam, centre, width)


def _at_1(rng: Generator) -> Curve:
    mirrored = _at_0(rng)
    return lambda lam: mirrored(1 - lam)


def _table2(rng: Generator) -> Curve:
    """Draw a reward of Table 2: λ = 2000/β from 0.2 to 4, mapped to [0, 1], monotone cubics."""
    lams = 2000 / np.array(TABLE2_BETA)
    values = TABLE2[str(rng.choice(list(TABLE2)))]
    return PchipInterpolator((lams - lams[0]) / (lams[-1] - lams[0]), values)


BUNDLED_SCORES = Path(str(files("lamsearch") / "miniature" / "reference_scores.npz"))
FIRST_WORLD_SCORES = Path(__file__).parent / "data" / "first_world_scores.npz"
"""Of the world that version 0.1 bundled."""


@lru_cache
def stored_scores(path: Path) -> tuple[Array, Array]:
    """Return the λs (21,) of a world's `beta500`, and the scores (21, 1000) of its images."""
    with np.load(path) as arrays:
        return arrays["lam"], arrays["pickscore"].astype(float)


def _miniature(rng: Generator) -> Curve:
    lams, scores = stored_scores(FIRST_WORLD_SCORES)
    return CubicSpline(lams, scores.mean(axis=1))


def _prior(kernel: str, rng: Generator) -> Curve:
    """Draw from the surrogate's own prior, in its units: values of a standard deviation near 1.

    The surrogate standardises the values that it sees, so its prior holds given such a deviation.
    """
    nodes = hyperparameters.grid(inferred_noise=False)
    weights = hyperparameters.log_prior(nodes).softmax(dim=0).numpy()
    while True:
        node = rng.choice(len(weights), p=weights)
        draw = _gp_draw(rng, nodes.lengthscale[node].item(), kernel)
        scale = math.sqrt(nodes.outputscale[node].item())
        if 0.8 < scale * draw(LINE[::40]).std() < 1.25:
            return lambda lam: scale * draw(lam)


FAMILIES: dict[str, Callable[[Generator], Curve]] = {
    "bump": _bump,
    "collapse": _collapse,
    "saturating": _saturating,
    "gp": _gp,
    "flat": _flat,
    "two_peaks": _two_peaks,
    "kink": _kink,
    "at_0": _at_0,
    "at_1": _at_1,
    "table2": _table2,
    "miniature": _miniature,
}
CALIBRATION_FAMILIES = {kernel: f"prior_{kernel}" for kernel in KERNELS}
"""Families for coverage only: drawn for our surrogate with this kernel, and in no average."""
FAMILIES |= {name: partial(_prior, kernel) for kernel, name in CALIBRATION_FAMILIES.items()}
