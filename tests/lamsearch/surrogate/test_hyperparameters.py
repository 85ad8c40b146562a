"""Quadrature over a fixed grid, carried by equally weighted members."""

import math

import numpy as np
import pytest
import torch

from lamsearch.surrogate.hyperparameters import (
    MEMBERS,
    PRIORS,
    Ensemble,
    Hyperparameters,
    equal_weight_members,
    grid,
    log_prior,
)


def nodes(count):
    return Hyperparameters(*torch.arange(1.0, 3 * count + 1).double().view(3, count))


def test_members_repeat_the_nodes_in_proportion():
    posterior = torch.tensor([0.5, 0.0, 0.25, 0.25], dtype=torch.float64)
    members = equal_weight_members(nodes(4), posterior.log())
    assert len(members.noise) == MEMBERS
    counts = [int((members.lengthscale == value).sum()) for value in nodes(4).lengthscale]
    assert counts == [16, 0, 8, 8]


def test_members_approximate_the_moments_of_the_posterior():
    every = grid(inferred_noise=True)
    log_posterior = log_prior(every)
    members = equal_weight_members(every, log_posterior)
    expected = (log_posterior.softmax(dim=0) @ every.lengthscale.log()).item()
    spread = PRIORS["lengthscale"][1]
    assert members.lengthscale.log().mean().item() == pytest.approx(expected, abs=0.1 * spread)


def test_the_ensemble_holds_each_distinct_member_once():
    members = nodes(3).take(torch.tensor([2, 0, 2, 2]))
    ensemble = Ensemble.from_members(members)
    assert ensemble.mixture_weights.sum() == 1
    assert sorted(ensemble.mixture_weights.tolist()) == [0.25, 0.75]
    for found, given in zip(ensemble.nodes.take(ensemble.members), members, strict=True):
        assert torch.equal(found, given)


def test_the_prior_is_log_normal():
    every = grid(inferred_noise=False)
    expected = sum(
        -(((values / PRIORS[name][0]).log() / PRIORS[name][1]) ** 2) / 2
        for name, values in every._asdict().items()
    )
    np.testing.assert_allclose(log_prior(every), expected, atol=1e-12)


def test_a_noise_that_is_known_adds_no_nodes():
    known, inferred = grid(inferred_noise=False), grid(inferred_noise=True)
    assert len(inferred.noise) == 7 * len(known.noise)
    assert set(known.noise.tolist()) == {PRIORS["noise"][0]}
    assert all(math.isfinite(value) for values in known for value in values.tolist())
