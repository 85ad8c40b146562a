"""Numbers as people read them: as many digits as the differences between them need."""

from __future__ import annotations

import math

MINUS = "−"
_MOST_DECIMALS = 10


def decimals(width: float, significant: int = 3) -> int:
    """Return the decimals that show a width with that many significant digits, 0 to 10."""
    if not (math.isfinite(width) and width > 0):
        return significant
    return min(max(significant - 1 - math.floor(math.log10(width)), 0), _MOST_DECIMALS)


def number(value: float, places: int, *, signed: bool = False) -> str:
    """Return a number with a fixed number of decimals and a true minus sign."""
    text = f"{value:{'+' if signed else ''}.{places}f}"
    if not signed and float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def interval(ends: tuple[float, float], places: int, *, signed: bool = False) -> str:
    """Return an interval as "LOW to HIGH"."""
    low, high = (number(end, places, signed=signed) for end in ends)
    return f"{low} to {high}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers in [low, high], about `count` of them: multiples of 1, 2 or 5 · 10ᵏ."""
    if not high > low:
        return [low]
    step = _round_step((high - low) / max(count, 1))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def tick_labels(values: list[float]) -> list[str]:
    """Return the labels of evenly spaced ticks, all with the decimals that their step needs."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    places = decimals(abs(step), 1)
    return [number(value, places) for value in values]


def _round_step(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next((unit * size for unit in (1, 2, 5) if step <= unit * size * (1 + 1e-9)), 10 * size)
