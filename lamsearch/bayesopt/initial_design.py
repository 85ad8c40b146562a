"""The initial design: the λs to evaluate before there is anything to learn from."""

from __future__ import annotations

import itertools

import torch


def initial_lams(
    count: int = 4,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    design: str = "anchored",
) -> list[float]:
    """Return the λs to begin with, in order.

    "anchored" begins with the reference (0) and the aligned model (1), where the bounds allow, and
    the bounds themselves: users compare the answer with these, and interpolation beats
    extrapolation. The others divide the gaps evenly, each moved by up to an eighth of its spacing
    (by the seed), so that studies do not all look at the same places.
    "uniform" is the paper's design, independent draws from the bounds.

    Raises:
        ValueError: If the design is unknown or count < 1.
    """
    if count < 1 or design not in ("anchored", "uniform"):
        raise ValueError(f"need count ≥ 1 and design anchored or uniform: {count}, {design!r}")
    low, high = bounds
    generator = torch.Generator().manual_seed(int(seed))  # numpy's too
    draws = torch.rand(count, dtype=torch.float64, generator=generator).tolist()
    if design == "uniform":
        return [low + (high - low) * u for u in draws]
    first = [lam for lam in dict.fromkeys((0.0, 1.0, *bounds)) if low <= lam <= high][:count]
    ends = sorted({*first, low, high})
    gaps = list(itertools.pairwise(ends))
    inside = [0] * len(gaps)
    for _ in range(count - len(first)):
        widths = [(b - a) / (k + 1) for (a, b), k in zip(gaps, inside, strict=True)]
        inside[widths.index(max(widths))] += 1
    places = [(a, (b - a) / (k + 1), i + 1) for (a, b), k in zip(gaps, inside, strict=True)
              for i in range(k)]  # fmt: skip
    moved = zip(places, draws, strict=False)
    return first + [a + spacing * (i + (u - 0.5) / 4) for (a, spacing, i), u in moved]
