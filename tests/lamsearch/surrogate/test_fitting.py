"""Fitting: the answer scales with its data, and the evidence finds the hyperparameters."""

import math

import numpy as np
import pytest
import torch

from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.hyperparameters import MEMBERS
from lamsearch.surrogate.observations import Observations
from surrogate_data import GRID, independent, tensor


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 0.23), (250.0, -1e4)])
def test_the_answer_scales_with_the_scores(unknown, scale, shift):
    variances = (math.nan,) * 5 if unknown else (0.01, 0.02, 0.01, 0.04, 0.01)
    plain = fit_surrogate(independent(variances))
    scaled = fit_surrogate(independent(variances, scale, shift))
    np.testing.assert_allclose(scaled.mean(GRID), scale * plain.mean(GRID) + shift, rtol=1e-6)
    expected = scale**2 * plain.covariance(GRID)
    np.testing.assert_allclose(scaled.covariance(GRID), expected, atol=1e-6 * scale**2)
    for found, given in zip(
        scaled.predictive(GRID, GRID), plain.predictive(GRID, GRID), strict=True
    ):
        np.testing.assert_allclose(found, scale**2 * given, atol=1e-6 * scale**2)


def test_bounds_are_units_of_the_lengthscale():
    plain = fit_surrogate(independent())
    moved = Observations.independent(2 + 3 * plain.observations.lams, *_rest(plain.observations))
    stretched = fit_surrogate(moved, bounds=(2.0, 5.0))
    np.testing.assert_allclose(stretched.mean(2 + 3 * GRID), plain.mean(GRID), atol=1e-8)


def _rest(observed):
    return observed.values, observed.variances


def test_order_of_observations_is_irrelevant():
    observed, order = independent(), [3, 0, 4, 1, 2]
    shuffled = Observations.independent(*(t[order] for t in (observed.lams, *_rest(observed))))
    expected = fit_surrogate(observed).mean(GRID)
    np.testing.assert_allclose(fit_surrogate(shuffled).mean(GRID), expected, atol=1e-8)


def test_fit_is_deterministic_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    a, b = fit_surrogate(independent()), fit_surrogate(independent())
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(a.covariance(GRID), b.covariance(GRID))
    assert len(a.hyperparameters.lengthscale) == MEMBERS


def test_evidence_finds_the_lengthscale_and_the_noise():
    lams = torch.linspace(0, 1, 40, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    error = 0.1 * torch.randn(40, dtype=torch.float64, generator=generator)
    unknown = torch.full_like(lams, torch.nan)
    wiggly = fit_surrogate(Observations.independent(lams, (20 * lams).sin() + error, unknown))
    smooth = fit_surrogate(Observations.independent(lams, (2 * lams).sin() + error, unknown))
    assert wiggly.hyperparameters.lengthscale.max() < smooth.hyperparameters.lengthscale.median()
    for surrogate in (wiggly, smooth):
        unit = surrogate.observations.values.var()
        assert 0.003 < unit * surrogate.hyperparameters.noise.mean() < 0.03


def test_a_certain_value_is_interpolated_and_an_uncertain_one_is_not():
    surrogate = fit_surrogate(independent(variances=(0.0, 0.0, 0.0, 9.0, 0.0)))
    observed = surrogate.observations
    exact = [0, 1, 2, 4]
    fitted = surrogate.mean(observed.lams)
    np.testing.assert_allclose(fitted[exact], observed.values[exact], atol=1e-3)
    assert surrogate.variance(observed.lams)[3] > 100 * surrogate.variance(observed.lams)[2]


@pytest.mark.parametrize(
    ("lams", "values", "variances"),
    [
        ((0.5,), (0.3,), (0.01,)),
        ((0.5,), (0.3,), (math.nan,)),
        ((0.5,), (0.3,), (0.0,)),
        ((0.2, 0.2), (0.3, 0.4), (0.0, 0.0)),
        ((0.0, 0.5, 1.0), (0.3, 0.3, 0.3), (1e-8, 1e-8, 1e-8)),
        ((0.0, 0.5, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((-0.5, 0.5, 2.0), (1e9, -1e9, 0.0), (1e18, 1e-9, math.nan)),
        ((0.0, 1e-9, 1.0), (0.23, 0.2300001, 0.23), (1e-12, 1e-12, 1e-12)),
    ],
)
def test_degenerate_observations_give_finite_posteriors(lams, values, variances):
    surrogate = fit_surrogate(
        Observations.independent(tensor(*lams), tensor(*values), tensor(*variances))
    )
    covariance = surrogate.covariance(GRID)
    assert surrogate.mean(GRID).isfinite().all()
    assert covariance.isfinite().all()
    assert (covariance.diagonal() >= 0).all()
    assert surrogate.draws(GRID, 10, generator=torch.Generator().manual_seed(0)).isfinite().all()


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.0, 0.0), (0.0, math.inf)])
def test_impossible_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match="bounds"):
        fit_surrogate(independent(), bounds=bounds)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="unknown kernel 'linear'"):
        fit_surrogate(independent(), kernel="linear")
