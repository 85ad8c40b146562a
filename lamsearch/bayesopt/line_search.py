"""Maximising a function of λ on a line, and where a constraint lets the maximum lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Function: TypeAlias = Callable[[Tensor], Tensor]
"""A function of λ, evaluated at many at once: (g,) → (g,)."""

Feasible: TypeAlias = Function
"""λs (g,) → the probability (g,) that a constraint holds there."""

GRID_SIZE = 101


def maximize_on_line(
    function: Function, bounds: tuple[float, float], *, size: int = GRID_SIZE, zooms: int = 2
) -> tuple[float, float]:
    """Maximise on an even grid of `size` points, then on `zooms` finer ones about the best point.

    Each zoom covers the two neighbouring intervals by 21 points. Global as far as the first grid
    resolves the function; afterwards exact to 10^−zooms of its spacing. Ties go to the smaller λ.
    Where the function is −∞ on all of the first grid, that is the maximum.

    Returns:
        The maximiser within the bounds, and the maximum.
    """
    low, high = bounds
    lams = torch.linspace(low, high, size, dtype=torch.float64)
    for zoom in range(zooms + 1):
        values = function(lams)
        best = int(values.argmax())
        if values[best] == -torch.inf:
            break
        left, right = lams[max(best - 1, 0)], lams[min(best + 1, len(lams) - 1)]
        if zoom < zooms:
            lams = torch.linspace(left.item(), right.item(), 21, dtype=torch.float64)
    return lams[best].item(), values[best].item()


def probable(lams: Tensor, feasible: Feasible | None) -> Tensor:
    """Return where a constraint probably holds (g,); everywhere, if it does so nowhere."""
    everywhere = torch.ones_like(lams, dtype=torch.bool)
    holds = everywhere if feasible is None else feasible(lams) >= 0.5
    return holds if holds.any() else everywhere


def probable_line(
    bounds: tuple[float, float], feasible: Feasible | None, *, size: int = GRID_SIZE
) -> Tensor:
    """Return the λs (g,) of an even grid where a constraint is `probable`."""
    line = torch.linspace(*bounds, size, dtype=torch.float64)
    return line[probable(line, feasible)]
