"""The evaluated λs as the surrogate sees them: values, and the covariance of their errors.

| symbol | code | meaning | shape |
|---|---|---|---|
| R̂_j | `values` | mean score at λ_j; the paper's R̂ where no score is missing | (n,) |
| V | `covariance` | of the values' errors without the offset; NaN diagonal = unknown | (n, n) |
| ω_j | `working_variances` | as if the errors were independent; NaN = unknown | (n,) |
| v | `offset_variance` | of the offset common to all values | number |
| c_j | `offset_covariance` | of the offset with the values' other errors | (n,) |

The offset is what the images have in common at all λs: several times larger than the differences
between two λs, but without effect on any comparison of them. Labels like eq-next-error are those of
the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamsearch.surrogate.image_noise import ImageNoise


@dataclass(frozen=True, eq=False)
class Observations:
    """n ≥ 1 evaluated λs; all tensors float64.

    Attributes:
        lams: (n,) evaluated λs.
        values: (n,) mean score at each λ.
        covariance: (n, n) V, inflated where images are few. NaN on the diagonal marks a value whose
            variance is unknown and whose error is independent of the others.
        working_variances: (n,) variances that would make the differences of the values as uncertain
            as they are on average, if their errors were independent; NaN = unknown.
        offset_covariance: (n,) c: images that score high may be those that lose most with λ.
        offset_variance: v. Like c it is part of the standard error of J(λ), but plays no part in
            any comparison of two λs.
        image_noise: Deviations of single images, where the images connect all evaluations.
        mean_images: Number of images in one evaluation, on average.

    Raises:
        ValueError: If shapes do not fit, a λ or a value is not finite, or a variance is negative.
        TypeError: If a tensor is not float64.
    """

    lams: Tensor
    values: Tensor
    covariance: Tensor
    working_variances: Tensor
    offset_covariance: Tensor
    offset_variance: float = 0.0
    image_noise: ImageNoise | None = None
    mean_images: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.lams) if self.lams.ndim == 1 else 0
        vectors = (self.lams, self.values, self.working_variances, self.offset_covariance)
        tensors = (*vectors, self.covariance)
        shapes = [tuple(t.shape) for t in tensors]
        if not n or shapes != [*[(n,)] * len(vectors), (n, n)]:
            names = "lams, values, working_variances, offset_covariance (n ≥ 1,)"
            raise ValueError(f"{names} and covariance (n, n) expected, got {shapes}")
        if any(t.dtype != torch.float64 for t in tensors):
            raise TypeError("all tensors must be float64")
        if not (self.lams.isfinite().all() and self.values.isfinite().all()):
            raise ValueError("lams and values must be finite; leave failed evaluations out")
        variances = torch.cat([self.variances, self.working_variances])
        if (variances < 0).any() or self.offset_variance < 0:
            raise ValueError("variances cannot be negative")

    @classmethod
    def independent(
        cls, lams: Tensor, values: Tensor, variances: Tensor, offset_variance: float = 0.0
    ) -> Observations:
        """Return observations whose errors are independent, with variances (n,), NaN = unknown."""
        nothing = torch.zeros_like(lams)
        return cls(lams, values, variances.diag(), variances, nothing, offset_variance)

    @property
    def variances(self) -> Tensor:
        """Variance (n,) of each value without the common offset; NaN = unknown."""
        return self.covariance.diagonal()

    def next_error(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the error of one more evaluation from the errors of the values (eq-next-error).

        Exact where all evaluations, the next one included, have the same images; otherwise as if
        the next one's images were any of those seen before.

        Args:
            lams: (g,) candidates.

        Returns:
            Coefficients (n, g) of the values' errors, and variances (g,) of the whole error, NaN =
            unknown.
        """
        if self.image_noise is None:
            alone = len(self.lams) == 1 and not self.working_variances.isnan().any()
            known = self.offset_variance if alone else self.working_variances.mean()
            return lams.new_zeros(len(self.lams), len(lams)), torch.ones_like(lams) * known
        coefficients, remaining = self.image_noise.regression(lams)
        explained = (coefficients * (self.image_noise.scatter @ coefficients)).sum(dim=0)
        return coefficients, (explained + remaining) / self.mean_images
