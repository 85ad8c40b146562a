"""How many images would halve the uncertainty of an answer, before they are generated.

| symbol | code | meaning |
|---|---|---|
| k | `factor` | how many times as many images every evaluated λ has |
| s(k) | `contrast_stderr` | expected standard error of J(λ*) − J(λ') with k times the images |

With k times the images the covariance of the values' errors is V/k. The posterior variance of a
Gaussian process depends on V and on the evaluated λs, not on the values that come out, so s(k) is
known beforehand, but for the hyperparameters, which stay. It falls to what the evaluated λs leave
open of the curve between them, however many images there are.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

from lamsearch.report.costs import CostsConfig
from lamsearch.report.summary import Summary
from lamsearch.surrogate.fitting import condition_surrogate
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.observations import Observations

LARGEST_FACTOR = 64.0
"""Nobody generates more than this many times the images."""

SECONDS_PER_HOUR = 3600

_BISECTIONS = 20


@dataclass(frozen=True)
class MoreImages:
    """What halves the standard error of the gain over the aligned model (or the reference).

    Attributes:
        versus: λ of the model that λ* is compared with.
        stderr: Standard error now.
        factor: How many times as many images at every evaluated λ halve it; None where the open
            question is the curve between the λs, and no number of images is enough.
        images_per_lam: Images at each λ then.
        images: Number of images to generate.
        continues: Whether the study itself can go on (`--images auto`), rather than a new one.
        hours: Hours that they take, at the speed of the study.
        price: The same as money.
    """

    versus: float
    stderr: float
    factor: float | None
    images_per_lam: int | None
    images: int | None
    continues: bool
    hours: float | None
    price: float | None


def find_more_images(summary: Summary, costs: CostsConfig, *, continues: bool) -> MoreImages | None:
    """Return what would halve the uncertainty; None where nothing is known of images.

    Args:
        summary: The answer.
        costs: What the reader pays.
        continues: Whether the study can go on with more images.
    """
    surrogate, (low, high) = summary.surrogate, summary.surrogate.bounds
    others = [lam for lam in (1.0, 0.0) if low <= lam <= high and lam != summary.lam]
    if surrogate.observations.image_noise is None or not others:
        return None
    versus = others[0]
    stderr = contrast_stderr(surrogate, summary.lam, versus)
    if stderr == 0:
        return None
    factor = factor_to_halve(surrogate, summary.lam, versus)
    if factor is None:
        return MoreImages(versus, stderr, None, None, None, continues, None, None)
    images = math.ceil((factor - 1 if continues else factor) * _images(summary))
    seconds = seconds_per_image(summary)
    hours = None if seconds is None else images * seconds / SECONDS_PER_HOUR
    per_lam = math.ceil(factor * surrogate.observations.mean_images)
    price = costs.price_of(hours)
    return MoreImages(versus, stderr, factor, per_lam, images, continues, hours, price)


def seconds_per_image(summary: Summary) -> float | None:
    """Return the measured time of one image, scored; None where none was measured."""
    return summary.seconds / _images(summary) if summary.seconds > 0 else None


def _images(summary: Summary) -> int:
    return sum(evaluation.images for evaluation in summary.evaluations)


def factor_to_halve(surrogate: Surrogate, lam: float, other: float) -> float | None:
    """Return k with s(k) = s(1)/2; None where no k up to `LARGEST_FACTOR` is enough.

    Args:
        surrogate: Fitted to evaluations that images connect.
        lam: λ*.
        other: λ', another λ.
    """
    goal = contrast_stderr(surrogate, lam, other) / 2
    if contrast_stderr(with_images(surrogate, LARGEST_FACTOR), lam, other) > goal:
        return None
    low, high = 0.0, math.log(LARGEST_FACTOR)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = contrast_stderr(with_images(surrogate, math.exp(middle)), lam, other) <= goal
        low, high = (low, middle) if enough else (middle, high)
    return math.exp(high)


def contrast_stderr(surrogate: Surrogate, lam: float, other: float) -> float:
    """Return the standard error of J(lam) − J(other) that the surrogate's members expect."""
    _, covariances = surrogate.joint(torch.tensor([lam, other], dtype=torch.float64))
    contrast = torch.tensor([1.0, -1.0], dtype=torch.float64)
    variances = (covariances @ contrast) @ contrast
    return math.sqrt(max((surrogate.mixture_weights @ variances).item(), 0.0))


def with_images(surrogate: Surrogate, factor: float) -> Surrogate:
    """Return the surrogate as if every value were the mean of `factor` times as many images."""
    return condition_surrogate(
        _with_images(surrogate.observations, factor),
        surrogate.hyperparameters,
        bounds=surrogate.bounds,
        kernel=surrogate.kernel,
        constant_mean=surrogate.process.prior.constant_mean,
    )


def _with_images(observations: Observations, factor: float) -> Observations:
    return dataclasses.replace(
        observations,
        covariance=observations.covariance / factor,
        working_variances=observations.working_variances / factor,
        offset_covariance=observations.offset_covariance / factor,
        offset_variance=observations.offset_variance / factor,
        mean_images=observations.mean_images * factor,
    )
