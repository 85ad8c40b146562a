"""Units: the priors are relative to the data, so values are standardised before anything is fitted.

With that, J → a·J + b scales the answer.

| symbol | code | meaning | shape |
|---|---|---|---|
| R̂ | `observations.values` | in the units of the scores | (n,) |
| y | `Data.targets` | (R̂ − center)/scale | (U, n) |
| D, E | `Data.noise`, `Data.excess` | V = D + E in units of scale² (eq-gp) | (U, n), (n, n) |

eq-gp is an equation of docs/explanation/image-noise.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.surrogate.gaussian_process import Data
from lamsearch.surrogate.observations import Observations

NOISE_FLOOR = 1e-6
"""Smallest noise variance, standardised: a thousandth of the values' spread; keeps K invertible."""


class Standardization(NamedTuple):
    """The affine map between standardised values and scores.

    Attributes:
        center: Mean of the values.
        scale: Standard deviation of the values; where they have none, that of their noise.
    """

    center: float
    scale: float

    @classmethod
    def of_values(cls, observations: Observations) -> Standardization:
        """Return the map that standardises these values."""
        values = observations.values
        scale = values.std().item() if len(values) > 1 else 0.0
        if scale <= 1e-9 * values.abs().max().item():
            known = observations.working_variances.nan_to_num(0.0)
            scale = math.sqrt(known.mean().item() + observations.offset_variance) or 1.0
        return cls(values.mean().item(), scale)

    def data(self, observations: Observations, noise: Tensor) -> Data:
        """Return the standardised data of U processes.

        Args:
            observations: In the units of the scores.
            noise: (U,) σ_n², standardised, where a value's variance is unknown.
        """
        values = ((observations.values - self.center) / self.scale).expand(len(noise), -1)
        working = observations.working_variances / self.scale**2
        variances = torch.where(working.isnan(), noise[:, None], working) + NOISE_FLOOR
        excess = observations.covariance - observations.working_variances.diag()
        excess = excess.nan_to_num(0.0) / self.scale**2
        return Data(observations.lams, values, variances, excess)

    def score_means(self, means: Tensor) -> Tensor:
        """Return standardised means in the units of the scores."""
        return self.center + self.scale * means

    def score_variances(self, variances: Tensor) -> Tensor:
        """Return standardised variances or covariances in the units of the scores squared."""
        return self.scale**2 * variances
