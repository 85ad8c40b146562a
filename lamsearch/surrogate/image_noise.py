"""How single images deviate from the mean curve J(λ): the noise in comparisons of λs.

    y_ij = J(λ_j) + a_i + d_i(λ_j),    Cov(d_i(λ_j), d_i(λ_k)) = s² R_jk
    R_jk = (1 − e) exp(−(λ_j − λ_k)²/2ℓ²) + e [j = k]

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | score of image i at λ_j | (n, m) |
| a_i | | effect of image i at every λ; it may be anything (a flat prior) | |
| d_i(λ) | | deviation of image i at λ | |
| s² | `variance` | of a deviation, in the units of the scores squared | number |
| ℓ | `lengthscale` | of the deviations, in units of λ | number |
| e | `nugget` | the part of the deviations' variance that is new at each evaluation | number |
| R | `correlation` | of one image's deviations at the evaluated λs | (N, n, n) |
| S | `scatter` | covariance of one image's deviations less their mean; S 1 = 0 | (n, n) |

An image changes smoothly with λ, so its deviations at neighbouring λs are similar, and evaluations
on the same images share most of their error: common random numbers in stochastic kriging (Chen,
Ankenman & Nelson 2012). Only differences within an image count; a constant added to all scores of
one image changes nothing. Labels like eq-deviations are those of the equations in
docs/explanation/image-noise.md; `comparison` estimates the parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from lamsearch.surrogate.gls import within_precision

LENGTHSCALES = torch.tensor([0.1, 0.17, 0.3, 0.55, 1.0, 2.0], dtype=torch.float64)
"""Grid of ℓ, in units of the evaluated λs' span."""

NUGGETS = torch.tensor([0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0], dtype=torch.float64)
"""Grid of e."""


@dataclass(frozen=True, eq=False)
class ImageNoise:
    """The deviations of single images, at the evaluated λs and between them.

    Attributes:
        lams: (n,) evaluated λs.
        scatter: (n, n) S, inflated for the number of images.
        variance: s² ≥ 0, inflated likewise.
        lengthscale: ℓ > 0.
        nugget: e in (0, 1].
    """

    lams: Tensor
    scatter: Tensor
    variance: float
    lengthscale: float
    nugget: float

    def regression(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Predict an image's deviations at other λs from those at the evaluated λs.

        Args:
            lams: (g,) other λs.

        Returns:
            Coefficients (n, g), and the variances (g,) that remain (eq-regression), all relative
            to the mean of the image's deviations at the evaluated λs.
        """
        correlation = self._smooth(self.lams, self.lams)
        correlation += self.nugget * torch.eye(len(self.lams), dtype=lams.dtype)
        cross = self._smooth(self.lams, lams)
        centred = cross - correlation.mean(dim=1, keepdim=True)
        coefficients = within_precision(correlation[None])[0][0] @ centred
        remaining = 1 - 2 * cross.mean(dim=0) + correlation.mean()
        explained = (centred * coefficients).sum(dim=0)
        return coefficients, self.variance * (remaining - explained).clamp_min(0)

    def _smooth(self, lams: Tensor, others: Tensor) -> Tensor:
        squares = (lams[:, None] - others).square() / self.lengthscale**2
        return (1 - self.nugget) * torch.exp(-squares / 2)


def parameter_grid(span: float) -> tuple[Tensor, Tensor]:
    """Return all N pairs (ℓ, e) that differ, for λs of this span; at e = 1, ℓ has no effect."""
    lengthscales, nuggets = torch.meshgrid(LENGTHSCALES, NUGGETS, indexing="ij")
    differ = (nuggets < 1) | (lengthscales == LENGTHSCALES[-1])
    return span * lengthscales[differ], nuggets[differ]


def correlations(lams: Tensor, lengthscales: Tensor, nuggets: Tensor) -> Tensor:
    """Return R (N, n, n) for evaluations at `lams` (n,) and N pairs (ℓ, e) (eq-deviations)."""
    squares = (lams[:, None] - lams).square() / lengthscales[:, None, None].square()
    smooth = torch.exp(-squares / 2) * (1 - nuggets)[:, None, None]
    return smooth + nuggets[:, None, None] * torch.eye(len(lams), dtype=lams.dtype)


def student_inflation(images: int) -> float:
    """Return (t/z)² (eq-widening) for a variance from m ≥ 2 images: 1.04 for 64, 42 for 2.

    Few images leave the variance uncertain: inflate it by (t/z)², so that normal 95 % intervals
    match Student's t with m − 1 degrees of freedom.
    """
    few, many = stdtrit([images - 1, math.inf], 0.975)
    return float((few / many) ** 2)
