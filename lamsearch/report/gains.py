"""What can be earned over the aligned model, by λ* and by what comes close to it.

| symbol | code | meaning |
|---|---|---|
| g, s | `Gain` | J(λ*) − J(1), what λ* earns over the aligned model, and its standard error |
| m, e | `EmulationError` | mean and deviation of: realigned model less real one |
| d, t | `ExportDifference` | an export less the mixture, and the standard error |
| Φ | `probability_above_zero` | normal distribution function |

A model that is aligned from scratch at β/λ* earns J(λ*) less what the emulation is off by, so its
gain over the aligned model is normal with mean g − m and variance s² + e², and above 0 with the
probability Φ((g − m)/√(s² + e²)). That of an export is normal with mean g + d and variance s² + t².
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtr

from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.exported import ExportDifference

_NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True)
class EmulationError:
    """By how much realigned models miss models aligned from scratch, in an agreement.

    Attributes:
        study: Name of the agreement.
        mean: Mean over pairs of anchors of the realigned mean less the real one.
        deviation: Standard deviation of these differences.
        pairs: Number of pairs, with λs near λ* where there are any.
    """

    study: str
    mean: float
    deviation: float
    pairs: int


def retrained_gain(gain: Gain, emulation: EmulationError | None) -> Gain:
    """Return what a model aligned from scratch at β/λ* earns over the aligned model."""
    return gain if emulation is None else _plus(gain, -emulation.mean, emulation.deviation)


def exported_gain(gain: Gain, export: ExportDifference) -> Gain:
    """Return what an export at λ* earns over the aligned model."""
    return _plus(gain, export.difference, export.stderr)


def _plus(gain: Gain, value: float, stderr: float) -> Gain:
    """Return the sum of a gain and of something else that is not exactly known."""
    mean, error = gain.value + value, math.hypot(gain.stderr, stderr)
    half = _NORMAL_QUANTILE * error
    return Gain(mean, error, (mean - half, mean + half))


def probability_above_zero(gain: Gain) -> float:
    """Return Φ(g/s); where nothing is uncertain, 1 or 0, and 1/2 for no difference at all."""
    if gain.stderr > 0:
        return float(ndtr(gain.value / gain.stderr))
    return 0.5 if gain.value == 0 else float(gain.value > 0)
