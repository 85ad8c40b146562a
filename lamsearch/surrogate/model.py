"""The surrogate of J(λ): a Gaussian process over λ (arXiv 2601.20198, Eq. 40–42).

| symbol | code | meaning | shape |
|---|---|---|---|
| J(λ) | | mean score at λ, in the units of the scores | |
| S, U | `members`, `process` | members of the ensemble, and the distinct ones among them | |
| w | `mixture_weights` | of the distinct members | (U,) |
| W | `kriging_weights` | the posterior mean is center + Wᵀ(R̂ − center) | (n, g) |
| v, c | `Observations.offset_variance`, `offset_covariance` | of the common offset | number, (n,) |

`fitting.fit_surrogate` makes one; `botorch_adapter.BotorchSurrogate` wraps it for BoTorch. Labels
like eq-gain are those of the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lamsearch.surrogate.gaussian_process import GaussianProcess
from lamsearch.surrogate.hyperparameters import Hyperparameters
from lamsearch.surrogate.lookahead import NextError, believe_value, next_error, predict_value
from lamsearch.surrogate.mixture import mixed_covariance, mixed_variance
from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.standardization import Standardization


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The posterior of J, hyperparameters integrated out; all methods in the units of the scores.

    Attributes:
        observations: n evaluated λs.
        bounds: λ's range (low, high). Observations may lie outside.
        process: The posteriors of the U distinct members, standardised.
        members: (S,) which of these each of the equally weighted members has.
        mixture_weights: (U,) of the distinct members.
        noise: (U,) mean working variance of an evaluation, standardised.
        units: Of the values.
    """

    observations: Observations
    bounds: tuple[float, float]
    process: GaussianProcess
    members: Tensor
    mixture_weights: Tensor
    noise: Tensor
    units: Standardization

    @property
    def lams(self) -> Tensor:
        """λs (n,) that it is conditioned on, those believed included."""
        return self.process.data.lams

    @property
    def kernel(self) -> str:
        """Name of the kernel."""
        return self.process.prior.kernel

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Those of the S members."""
        return self.process.prior.nodes.take(self.members)

    @torch.no_grad()
    def joint(self, lams: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return each distinct member's posterior of J.

        Args:
            lams: (g,) λs.
            others: (h,) λs, by default the same.

        Returns:
            Means (U, g) at `lams`, and covariances (U, g, h) of `lams` with `others`.
        """
        means, covariances = self.process.joint(lams, others)
        return self.units.score_means(means), self.units.score_variances(covariances)

    @torch.no_grad()
    def marginals(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Return each distinct member's means (U, g) and variances (U, g) at `lams` (g,)."""
        means, variances = self.process.marginals(lams)
        return self.units.score_means(means), self.units.score_variances(variances)

    def mean(self, lams: Tensor) -> Tensor:
        """Return the posterior mean (g,) of J at `lams` (g,)."""
        return self.mixture_weights @ self.marginals(lams)[0]

    def variance(self, lams: Tensor) -> Tensor:
        """Return the posterior variance (g,) of J at `lams` (g,)."""
        return mixed_variance(self.mixture_weights, *self.marginals(lams))

    def covariance(self, lams: Tensor, others: Tensor | None = None) -> Tensor:
        """Return the posterior covariance (g, h) of J at `lams` and `others`, by default `lams`."""
        others = lams if others is None else others
        means, covariances = self.joint(lams, others)
        return mixed_covariance(self.mixture_weights, means, self.marginals(others)[0], covariances)

    def level_variance(self, lams: Tensor) -> Tensor:
        """Return the variance (g,) of the level of J at `lams` (g,) (eq-level-variance).

        It includes the offset that all values share, which cancels in differences of J.
        """
        shared = 2 * self.mixture_weights @ self.offset_covariance(lams)
        return (self.variance(lams) + self.observations.offset_variance + shared).clamp_min(0)

    @torch.no_grad()
    def offset_covariance(self, lams: Tensor) -> Tensor:
        """Return each distinct member's covariance (U, g) of its error with the common offset."""
        known = self.observations.offset_covariance
        return known @ self.process.cross(lams).weights[..., : len(known), :]

    @torch.no_grad()
    def kriging_weights(self, lams: Tensor) -> Tensor:
        """Return the weights (n, g) of the values in the mean at `lams` (g,).

        Values that move by δ move the mean by δᵀ times these, with the hyperparameters as they are.
        """
        return torch.einsum("u,ung->ng", self.mixture_weights, self.process.cross(lams).weights)

    @torch.no_grad()
    def draws(
        self, lams: Tensor, count: int, *, generator: torch.Generator, less: float = 0.0
    ) -> Tensor:
        """Return joint posterior draws (count, g) of J − `less`; the S members take turns.

        Args:
            lams: (g,) λs.
            count: Number of draws.
            generator: Source of the random numbers.
            less: Subtracted from the mean. Without its level even a curve that is known to the
                last digit has draws that differ.
        """
        means, covariances = self.process.joint(lams)
        means = self.units._replace(center=self.units.center - less).score_means(means)
        rounds = math.ceil(count / len(self.members))
        roots = square_root(self.units.score_variances(covariances))
        shape = (len(self.members), len(lams), rounds)
        normal = torch.randn(shape, dtype=torch.float64, generator=generator)
        curves: Tensor = means[self.members, :, None] + roots[self.members] @ normal
        return curves.permute(2, 0, 1).reshape(-1, len(lams))[:count]

    @torch.no_grad()
    def predictive(self, lams: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Predict what one more evaluation would tell (eq-predictive, eq-move).

        Args:
            lams: (c,) candidates.
            points: (g,) λs at which the mean is asked for.

        Returns:
            Covariances (c, g) of the value at each candidate with the posterior mean at the points
            after it, and the values' variances (c,).
        """
        slopes, surprise = predict_value(
            self.process,
            self.mixture_weights,
            self._next_error(lams),
            noise=self.noise,
            candidates=lams,
            points=points,
        )
        variances = self.units.score_variances(surprise)
        return slopes * variances[:, None], variances

    @torch.no_grad()
    def believe(self, lams: Tensor) -> Surrogate:
        """Return the surrogate as if λs (p,) under evaluation had come out at their expectation.

        The mean stays, and the uncertainty shrinks by what these evaluations will tell
        ("kriging believer").
        """
        model = self
        for lam in lams[:, None]:
            process = believe_value(model.process, lam, model._next_error(lam), model.noise)
            model = dataclasses.replace(model, process=process)
        return model

    def _next_error(self, lams: Tensor) -> NextError:
        coefficients, variance = self.observations.next_error(lams)
        return next_error(self.process, self.noise, coefficients, variance / self.units.scale**2)


def square_root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root of covariances (..., g, g).

    Smooth curves on a fine grid are singular to working precision, where Cholesky would fail; and
    unlike the eigenvectors this root does not jump when the data change by a rounding error.
    """
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * eigenvalues.clamp_min(0).sqrt().unsqueeze(-2) @ vectors.mT
    return root
