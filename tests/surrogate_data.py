"""Observations and tables of image scores for the tests of the surrogate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.pairing import observe

Array = NDArray[np.float64]

GRID = torch.linspace(0, 1, 23, dtype=torch.float64)


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def independent(
    variances: Sequence[float] = (0.01, 0.02, 0.01, 0.04, 0.01),
    scale: float = 1.0,
    shift: float = 0.0,
) -> Observations:
    """Return five observations with independent errors; `scale` and `shift` change the units."""
    lams = tensor(0.0, 0.3, 0.55, 0.8, 1.0)
    values = tensor(0.1, 0.6, 0.9, 0.7, 0.2)
    return Observations.independent(lams, scale * values + shift, scale**2 * tensor(*variances))


def paired(*, own: float = 0.0, lams: Sequence[float] = (0.0, 0.2, 0.45, 0.7, 1.0)) -> Observations:
    """Return observations on the same 40 images, whose scores differ in slope and curvature."""
    rng = np.random.default_rng(0)
    x = np.array(lams)[:, None]
    slope, curvature = rng.normal(size=(2, 40))
    noise = own * rng.normal(size=(len(lams), 40))
    return observe(list(lams), list(-((x - 0.4) ** 2) + slope * x + curvature * x**2 + noise))


def images_of_curves(
    studies: int, lams: ArrayLike, m: int, rng: np.random.Generator, *, own: float = 0.05
) -> Array:
    """Return scores (studies, n, m) of images that differ in level, slope and curvature; J = 0.

    `own` is the standard deviation of what is new at each evaluation.
    """
    x = np.asarray(lams)[:, None]
    level, slope, curvature = rng.normal(size=(3, studies, 1, m))
    new = own * rng.normal(size=(studies, len(x), m))
    table: Array = 3 * level + 0.5 * slope * x + 0.3 * curvature * x**2 + new
    return table


def with_holes(table: Array, part: float, rng: np.random.Generator, *, complete: int = 0) -> Array:
    """Return the table with this part of the scores missing, except in the first rows."""
    holed = table.copy()
    holed[complete:][rng.random(holed[complete:].shape) < part] = np.nan
    return holed


def rotating(table: Array, line: Sequence[int]) -> Array:
    """Show the j-th of n λs those of n blocks of images that are j places on from the line's."""
    n, m = table.shape
    block = (np.arange(m) - np.arange(n)[:, None]) % n
    return np.where(np.isin(block, line), table, np.nan)
