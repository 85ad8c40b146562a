"""The surrogate as a BoTorch model, for BoTorch's acquisition functions.

Tensors have BoTorch's shapes: X is (b, q, 1), and the S equally weighted members are a batch
dimension, as in BoTorch's fully Bayesian models. f counts fantasies.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from botorch.models.model import Model
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultivariateNormal
from linear_operator import to_linear_operator
from torch import Tensor

from lamsearch.surrogate.gaussian_process import condition
from lamsearch.surrogate.model import Surrogate


class BotorchSurrogate(Model):
    """A BoTorch model around a `Surrogate`.

    Attributes:
        surrogate: The surrogate.
    """

    _is_ensemble = True
    num_outputs = 1

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    @property
    def batch_shape(self) -> torch.Size:
        """The batch dimensions of fantasies, and S."""
        return torch.Size([*self.surrogate.lams.shape[:-1], len(self.surrogate.members)])

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> Any:
        """Return the joint posterior at X (b, q, 1), with the members in dimension `MCMC_DIM`."""
        surrogate = self.surrogate
        means, covariances = surrogate.process.joint(X.squeeze(-1))
        if observation_noise is not False:
            own = surrogate.noise[:, None, None] * torch.eye(X.shape[-2], dtype=X.dtype)
            covariances = covariances + own
        means = means.index_select(-2, surrogate.members)
        covariances = covariances.index_select(-3, surrogate.members)
        distribution = MultivariateNormal(
            surrogate.units.score_means(means),
            to_linear_operator(surrogate.units.score_variances(covariances)),
        )
        posterior = GaussianMixturePosterior(distribution)
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def fantasize(self, X: Tensor, sampler: MCSampler, **_: Any) -> BotorchSurrogate:
        """Return the model after outcomes drawn at X (b, q, 1), one per fantasy."""
        return self.condition_on_observations(X, sampler(self.posterior(X, observation_noise=True)))

    def condition_on_observations(self, X: Tensor, Y: Tensor, **_: Any) -> BotorchSurrogate:
        """Return the model with more observations, X (b, q, 1) and Y (f, b, S, q, 1)."""
        surrogate, units = self.surrogate, self.surrogate.units
        members, process = surrogate.members, surrogate.process
        noise = surrogate.noise[members]
        targets = (Y.squeeze(-1) - units.center) / units.scale
        data = process.data.take(members).extended(X.squeeze(-1), targets, noise[:, None])
        # Each of the S members has outcomes of its own: all of them are distinct now.
        count = len(members)
        conditioned = dataclasses.replace(
            surrogate,
            process=condition(process.prior.take(members), data),
            members=torch.arange(count),
            mixture_weights=torch.full((count,), 1 / count, dtype=torch.float64),
            noise=noise,
        )
        return BotorchSurrogate(conditioned)
