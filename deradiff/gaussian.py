"""Gaussians and their geometric mixture: Theorem 1 and appendix A.4 of arXiv 2601.20198.

| symbol   | code                | meaning                                    | shape           |
|----------|---------------------|--------------------------------------------|-----------------|
| μ        | `Gaussian.mean`     | mean of a reverse step                     | (B, ...)        |
| σ²       | `Gaussian.variance` | its variance, isotropic or per element     | broadcasts to μ |
| λ, λ_i   | `lam`               | realignment weight of each aligned model   | () or (B,)      |
| 1 − Σλ_i | `weights[0]`        | weight of the reference                    | () or (B,)      |

The mixture of N(μ_ref, σ_ref²) and K aligned N(μ_i, σ_i²) is proportional to
p_ref^(1−Σλ_i) · Π p_i^λ_i and is Gaussian with

    1/σ² = (1 − Σλ_i)/σ_ref² + Σ λ_i/σ_i²                                          (7), (A.4)
    μ    = σ² · ((1 − Σλ_i) μ_ref/σ_ref² + Σ λ_i μ_i/σ_i²)

Erratum: Eq. 33–38 of the paper drop the reference term that Eq. 32 carries; it is kept here, so
that K = 1 reduces to Eq. 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Lam = float | Tensor
"""One realignment weight: a number, or a tensor of shape (B,), one weight per batch element."""


class InvalidMixtureError(ValueError):
    """The geometric mixture is not a Gaussian: its precision is not positive."""


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian per batch element, such as one reverse step p(x_{t−1} | x_t).

    Attributes:
        mean: Mean μ, (B, ...).
        variance: Variance σ² ≥ 0, of any shape that broadcasts to the mean's; not a standard
            deviation.
    """

    mean: Tensor
    variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return μ + σ · noise for standard normal `noise` of shape (B, ...)."""
        return self.mean + self.variance.sqrt() * noise


def mixture_weights(lam: Lam | Sequence[Lam], models: int) -> tuple[Lam, ...]:
    """Return the weights (1 − Σλ_i, λ_1, ..., λ_K) of the reference and K aligned models.

    Args:
        lam: λ of one aligned model, or a sequence of K of them; each a number or a tensor of shape
            (B,), one weight per batch element.
        models: K, the number of aligned models.

    Raises:
        ValueError: If the number of weights is not K, or a weight is not finite or of another
            shape.
    """
    lams = [_plain(weight) for weight in as_list(lam)]
    if len(lams) != models:
        raise ValueError(f"{len(lams)} lam given for {models} aligned model(s): give one for each")
    for weight in lams:
        if isinstance(weight, Tensor) and weight.ndim > 1:
            raise ValueError(
                f"lam has shape {tuple(weight.shape)}: expected a number or a tensor of shape (B,)"
            )
        finite = (
            torch.isfinite(weight).all() if isinstance(weight, Tensor) else math.isfinite(weight)
        )
        if not finite:
            raise ValueError(f"lam = {weight} is not finite: give real numbers, normally in [0, 1]")
    return (_plain(1 - sum(lams[1:], start=lams[0])), *lams)


def as_list(lam: Lam | Sequence[Lam]) -> list[Lam]:
    """Return the weights of K aligned models as a list, also where K = 1."""
    return list(lam) if isinstance(lam, Sequence) else [lam]


def _plain(weight: Lam) -> Lam:
    """Return 0-d tensors as numbers, and rounding errors such as 1 − .1 − .2 − .7 as 0."""
    if isinstance(weight, Tensor) and weight.ndim:
        return weight
    number = float(weight)
    return 0.0 if abs(number) < 1e-12 else number


def geometric_mixture(
    reference: Gaussian,
    aligned: Gaussian | Sequence[Gaussian],
    lam: Lam | Sequence[Lam],
) -> Gaussian:
    """Mix the reference's and the aligned models' reverse steps (arXiv 2601.20198, Eq. 7, A.4).

    λ outside [0, 1] extrapolates and is allowed while the precision stays positive. Where variances
    are 0 the mixture is the limit: with equal variances the mixture of the means, otherwise the
    narrowest Gaussian whose weight is not 0.

    Args:
        reference: Reverse step of the reference, with a mean of shape (B, ...).
        aligned: Reverse step of the aligned model, or of K of them, with means of the same shape.
        lam: λ, or K of them; each a number or a tensor of shape (B,).

    Returns:
        The mixture, with a mean of shape (B, ...).

    Raises:
        InvalidMixtureError: If the precision is not positive somewhere.
        ValueError: If `lam` does not fit `aligned` or is not finite.
    """
    several = [aligned] if isinstance(aligned, Gaussian) else list(aligned)
    gaussians = [reference, *several]
    lams = mixture_weights(lam, len(several))
    weights = [_per_element(weight, reference.mean) for weight in lams]

    # Precisions are relative to that of the narrowest Gaussian with a weight. This is exact where
    # variances agree (every ratio is 1, also for σ = 0) and avoids 0/0 where they do not.
    scale = _narrowest(gaussians, weights)
    ratios = [torch.where(g.variance <= scale, 1.0, scale / g.variance) for g in gaussians]
    precision = sum(w * r for w, r in zip(weights[1:], ratios[1:], strict=True))
    precision = weights[0] * ratios[0] + precision
    if not bool((precision > 0).all()):
        raise InvalidMixtureError(
            f"lam = {lam} gives a mixture of precision <= 0 for variances "
            f"{[_extent(g.variance) for g in gaussians]} (reference first): "
            "bring lam closer to [0, 1]"
        )
    mean = sum(
        w * r * g.mean for w, r, g in zip(weights[1:], ratios[1:], gaussians[1:], strict=True)
    )
    mean = weights[0] * ratios[0] * reference.mean + mean
    return Gaussian(mean / precision, scale / precision)


def kl_divergence(p: Gaussian, q: Gaussian) -> Tensor:
    """Return KL(p ‖ q) in nats, summed over all but the batch dimension.

    Args:
        p: Gaussian with a mean of shape (B, ...).
        q: Gaussian with a mean of the same shape.

    Returns:
        Divergences ≥ 0 of shape (B,). Elements in which both variances are 0 contribute 0 where the
        means agree, and make the divergence infinite where they do not.
    """
    difference = (p.mean - q.mean).square()
    p_variance, q_variance = p.variance.expand_as(difference), q.variance.expand_as(difference)
    degenerate = (p_variance == 0) & (q_variance == 0)
    ratio = torch.where(degenerate, 1.0, p_variance / q_variance)
    distance = torch.where(difference == 0, 0.0, difference / q_variance)
    # Where only one of the two is a point mass the ratio is 0 or ∞, and the divergence infinite.
    width = torch.where(ratio.isinf(), math.inf, ratio - 1 - ratio.log())
    return (0.5 * (width + distance)).flatten(1).sum(1)


def _per_element(weight: Lam, mean: Tensor) -> Tensor:
    """Return the weight as a tensor that broadcasts to the mean's shape."""
    weight = torch.as_tensor(weight, dtype=mean.dtype, device=mean.device)
    return weight.reshape(-1, *[1] * (mean.ndim - 1)) if weight.ndim else weight


def _narrowest(gaussians: Sequence[Gaussian], weights: Sequence[Tensor]) -> Tensor:
    """Return, per element, the smallest variance among the Gaussians whose weight is not 0."""
    scale = torch.full_like(gaussians[0].variance, math.inf)
    for gaussian, weight in zip(gaussians, weights, strict=True):
        scale = torch.minimum(scale, torch.where(weight == 0, math.inf, gaussian.variance))
    return scale


def _extent(variance: Tensor) -> str:
    """Return the range of the variances, as text for an error message."""
    low, high = float(variance.min()), float(variance.max())
    return f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"
