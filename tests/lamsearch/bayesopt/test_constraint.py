"""The probability that a constraint holds, against draws of the posterior."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamsearch.bayesopt.constraint import feasibility
from lamsearch.config.expressions import parse_constraint
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.pairing import observe

LAMS = (0.0, 0.3, 0.6, 1.0)


def guard(level: float = 2.0, noise: float = 0.05) -> Surrogate:
    """A guard that falls linearly from `level` by 1, with an image effect common to all λs."""
    draws = np.random.default_rng(0)
    effects = draws.normal(0, 0.3, 30)
    rows = [level - lam + effects + noise * draws.normal(size=30) for lam in LAMS]
    return fit_surrogate(observe(LAMS, rows))


@pytest.mark.parametrize("level", [2.0, -2.0, 0.1])
@pytest.mark.parametrize(
    "text", ["g >= -30% of reference", "g >= reference - 0.4", "g >= reference", "g >= -1.9"]
)
def test_the_probability_is_that_of_the_posterior(level: float, text: str) -> None:
    """Against the share of joint draws that satisfy the inequality as it is written.

    Of the percentage the sign of G(0) is taken as known, which near 0 it is not quite.
    """
    surrogate, constraint = guard(level, noise=1.0), parse_constraint(text)
    lams = torch.linspace(0, 1, 11, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws = surrogate.draws(lams, 64_000, generator=generator)
    spread = surrogate.observations.offset_variance**0.5
    draws += spread * torch.randn(len(draws), 1, generator=generator, dtype=torch.float64)
    reference = draws[:, :1]
    least = reference + constraint.percent / 100 * reference.abs() + constraint.difference
    if constraint.level is not None:
        least = torch.full_like(least, constraint.level)
    share = (draws >= least).double().mean(dim=0)
    torch.testing.assert_close(feasibility(surrogate, constraint)(lams), share, atol=0.02, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lam", "text"), [(0.0, "g >= 2"), (1.0, "g >= 1"), (1.0, "g >= -50% of reference")]
)
def test_the_probability_is_calibrated_where_the_spread_grows(lam: float, text: str) -> None:
    """Images that lose more, the more they have: P ≥ 95 % at the limit itself is 1 in 20."""
    rng, at = np.random.default_rng(0), torch.tensor([lam], dtype=torch.float64)
    sure = []
    for _ in range(200):
        effects = rng.normal(size=64)
        rows = [2 - x + (0.1 + 0.2 * x) * effects + 0.01 * rng.normal(size=64) for x in LAMS]
        surrogate = fit_surrogate(observe(LAMS, rows))
        sure.append(feasibility(surrogate, parse_constraint(text))(at).item() >= 0.95)
    assert np.mean(sure) < 0.1


def test_the_reference_is_certain_where_nothing_more_is_asked() -> None:
    at_zero = torch.zeros(1, dtype=torch.float64)
    for text in ("g >= reference", "g >= -1% of reference", "g >= reference - 0.1"):
        assert feasibility(guard(), parse_constraint(text))(at_zero).item() == 1.0
    for text in ("g >= reference + 0.5", "g >= 5% of reference"):
        assert feasibility(guard(), parse_constraint(text))(at_zero).item() < 0.01


def test_a_common_offset_matters_for_levels_but_not_for_differences() -> None:
    """Half-way down a difference is known well, the level only as well as its images tell."""
    at = torch.tensor([0.45, 0.55], dtype=torch.float64)
    difference = feasibility(guard(), parse_constraint("g >= reference - 0.5"))(at)
    level = feasibility(guard(), parse_constraint("g >= 1.5"))(at)
    assert difference[0] > 0.8
    assert difference[1] < 0.1
    assert 0.02 < level[1] < level[0] < 0.8
