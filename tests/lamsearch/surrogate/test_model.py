"""The Gaussian process equals its formulas, scales with its data, and is a BoTorch model."""

import math

import numpy as np
import pytest
import torch
from botorch.acquisition import (
    LogExpectedImprovement,
    qLogNoisyExpectedImprovement,
    qUpperConfidenceBound,
)
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler

from lamsearch.surrogate.gaussian_process import Prior
from lamsearch.surrogate.hyperparameters import MEMBERS, Hyperparameters, grid
from lamsearch.surrogate.model import KERNELS, NOISE_FLOOR, Surrogate, fit_surrogate
from lamsearch.surrogate.observations import Observations, observe

GRID = torch.linspace(0, 1, 23, dtype=torch.float64)


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def observations(variances=(0.01, 0.02, 0.01, 0.04, 0.01), scale=1.0, shift=0.0):
    lams = tensor(0.0, 0.3, 0.55, 0.8, 1.0)
    values = tensor(0.1, 0.6, 0.9, 0.7, 0.2)
    return Observations.independent(lams, scale * values + shift, scale**2 * tensor(*variances))


def dense(observed, lengthscale, outputscale, noise):
    """Eq. 41–42 in NumPy, in units of the scores."""
    x, y = observed.lams.numpy(), observed.values.numpy()
    center, scale = y.mean(), y.std(ddof=1)
    variances = observed.variances.numpy() / scale**2
    variances = np.where(np.isnan(variances), noise, variances) + NOISE_FLOOR

    def k(a, b):
        squares = (a[:, None] - b[None, :]) ** 2
        return outputscale * np.exp(-squares / (2 * lengthscale**2))

    grid, one = GRID.numpy(), np.ones(len(x))
    precision = np.linalg.inv(k(x, x) + np.diag(variances))
    gain = k(grid, x) @ precision
    level = one @ precision @ (y - center) / scale / (one @ precision @ one)
    mean = center + scale * (level + gain @ ((y - center) / scale - level))
    trend = 1 - gain @ one
    covariance = k(grid, grid) - gain @ k(x, grid)
    return mean, scale**2 * (covariance + np.outer(trend, trend) / (one @ precision @ one))


MEMBER_VALUES = [(0.2, 1.0, 0.01), (0.5, 3.0, 0.1), (1.2, 0.3, 0.001)]


@pytest.fixture
def fixed():
    observed = observations(variances=(0.01, math.nan, 0.01, math.nan, 0.02))
    columns = zip(*MEMBER_VALUES, strict=True)
    values = Hyperparameters(*(tensor(*column) for column in columns))
    return Surrogate(observed, values, kernel="rbf")


def test_members_equal_the_dense_formulas(fixed):
    means, covariances = fixed.members(GRID)
    _, variances = fixed.marginals(GRID)
    for s, values in enumerate(MEMBER_VALUES):
        mean, covariance = dense(fixed.observations, *values)
        np.testing.assert_allclose(means[s], mean, atol=1e-8)
        np.testing.assert_allclose(covariances[s], covariance, atol=1e-8)
        np.testing.assert_allclose(variances[s], np.diag(covariance), atol=1e-8)


def test_botorch_posterior_is_the_same(fixed):
    posterior = fixed.posterior(GRID[:, None])
    means, covariances = fixed.members(GRID)
    np.testing.assert_allclose(posterior.mean.squeeze(-1), means, atol=1e-8)
    np.testing.assert_allclose(posterior.distribution.covariance_matrix, covariances, atol=1e-8)
    np.testing.assert_allclose(posterior.mixture_mean.squeeze(-1), fixed.mean(GRID), atol=1e-8)
    mixture = posterior.mixture_variance.squeeze(-1)
    np.testing.assert_allclose(mixture, fixed.variance(GRID), atol=1e-8)


def test_mixture_moments(fixed):
    members = [dense(fixed.observations, *values) for values in MEMBER_VALUES]
    average = np.mean([m for m, _ in members], axis=0)
    second = np.mean([c + np.outer(m, m) for m, c in members], axis=0)
    covariance = fixed.covariance(GRID)
    np.testing.assert_allclose(covariance, second - np.outer(average, average), atol=1e-8)
    np.testing.assert_allclose(fixed.covariance(GRID[:4], GRID), covariance[:4], atol=1e-10)
    np.testing.assert_allclose(fixed.variance(GRID), covariance.diagonal(), atol=1e-8)


def test_draws_have_the_moments_of_the_posterior(fixed):
    draws = fixed.draws(GRID, 60_000, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (60_000, len(GRID))
    covariance = fixed.covariance(GRID)
    error = covariance.diagonal().sqrt() / math.sqrt(len(draws))
    assert ((draws.mean(0) - fixed.mean(GRID)).abs() < 4.5 * error).all()
    np.testing.assert_allclose(draws.T.cov(), covariance, atol=0.03 * covariance.max().item())
    again = fixed.draws(GRID, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, fixed.draws(GRID, 7, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 0.23), (250.0, -1e4)])
def test_the_answer_scales_with_the_scores(unknown, scale, shift):
    variances = (math.nan,) * 5 if unknown else (0.01, 0.02, 0.01, 0.04, 0.01)
    plain = fit_surrogate(observations(variances))
    scaled = fit_surrogate(observations(variances, scale, shift))
    np.testing.assert_allclose(scaled.mean(GRID), scale * plain.mean(GRID) + shift, rtol=1e-6)
    expected = scale**2 * plain.covariance(GRID)
    np.testing.assert_allclose(scaled.covariance(GRID), expected, atol=1e-6 * scale**2)
    assert scaled.noise_variance == pytest.approx(scale**2 * plain.noise_variance, rel=1e-6)


def test_bounds_are_units_of_the_lengthscale():
    plain = fit_surrogate(observations())
    moved = Observations.independent(2 + 3 * plain.observations.lams, *_rest(plain.observations))
    stretched = fit_surrogate(moved, bounds=(2.0, 5.0))
    np.testing.assert_allclose(stretched.mean(2 + 3 * GRID), plain.mean(GRID), atol=1e-8)


def _rest(observed):
    return observed.values, observed.variances


def test_order_of_observations_is_irrelevant():
    observed, order = observations(), [3, 0, 4, 1, 2]
    shuffled = Observations.independent(*(t[order] for t in (observed.lams, *_rest(observed))))
    expected = fit_surrogate(observed).mean(GRID)
    np.testing.assert_allclose(fit_surrogate(shuffled).mean(GRID), expected, atol=1e-8)


def test_fit_is_deterministic_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    a, b = fit_surrogate(observations()), fit_surrogate(observations())
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
        assert 0.003 < surrogate.noise_variance < 0.03


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("constant_mean", [True, False])
@pytest.mark.parametrize("n", [1, 2, 12, 40])
def test_with_equal_noise_the_evidence_is_the_same_and_faster(n, constant_mean, kernel):
    generator = torch.Generator().manual_seed(n)
    lams, targets = torch.rand(2, n, dtype=torch.float64, generator=generator)
    nodes = grid(inferred_noise=True)
    prior = Prior(nodes, kernel, 1.0, constant_mean)
    noise = nodes.noise + NOISE_FLOOR
    fast = prior.homoscedastic_evidence(lams, targets, noise)
    everywhere, excess = noise[:, None].expand(-1, n), torch.zeros(n, n, dtype=torch.float64)
    full = prior.condition(lams, targets.expand(len(noise), n), everywhere, excess).log_evidence()
    # K + D amplifies rounding by its condition number, in either way of computing.
    harmless = nodes.outputscale < 1e3 * noise
    np.testing.assert_allclose(fast[harmless], full[harmless], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fast, full, rtol=1e-6, atol=1e-12)


def test_a_certain_value_is_interpolated_and_an_uncertain_one_is_not():
    surrogate = fit_surrogate(observations(variances=(0.0, 0.0, 0.0, 9.0, 0.0)))
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
        fit_surrogate(observations(), bounds=bounds)


def test_believing_keeps_the_mean_and_shrinks_the_variance(fixed):
    believed = fixed.believe(tensor(0.15, 0.7))
    np.testing.assert_allclose(believed.mean(GRID), fixed.mean(GRID), atol=1e-8)
    assert (believed.variance(GRID) <= fixed.variance(GRID) + 1e-12).all()
    (_, before), (_, after) = (
        m.marginals(tensor(0.4)) for m in (fixed, fixed.believe(tensor(0.4)))
    )
    scale = fixed.observations.values.std() ** 2
    known = fixed.observations.variances.nan_to_num(0.0).sum() / 5
    noise = known + scale * (fixed.hyperparameters.noise * 2 / 5 + NOISE_FLOOR)
    np.testing.assert_allclose(after.squeeze(-1), 1 / (1 / before.squeeze(-1) + 1 / noise))


@pytest.mark.parametrize("name", ["logei", "qlognei", "qucb"])
def test_botorch_acquisitions_run_on_it(name):
    surrogate = fit_surrogate(observations())
    sampler = SobolQMCNormalSampler(torch.Size([64]), seed=0)
    train_X = surrogate.observations.lams[:, None]
    acquisition = {
        "logei": lambda: LogExpectedImprovement(surrogate, best_f=0.9),
        "qlognei": lambda: qLogNoisyExpectedImprovement(surrogate, train_X, sampler=sampler),
        "qucb": lambda: qUpperConfidenceBound(surrogate, beta=2.0, sampler=sampler),
    }[name]()
    values = acquisition(GRID[:, None, None])
    assert values.shape == GRID.shape
    candidate, value = optimize_acqf(
        acquisition, bounds=tensor([0.0], [1.0]), q=1, num_restarts=2, raw_samples=16
    )
    assert 0.3 < candidate.item() < 0.9
    assert value >= values.max() - 0.02 * values.max().abs()


def test_botorch_fantasies_average_to_the_posterior_mean():
    """What BoTorch's look-ahead acquisitions build on, for several candidates at once."""
    surrogate = fit_surrogate(observations())
    X = tensor(0.5, 0.9)[:, None, None]
    sampler = SobolQMCNormalSampler(torch.Size([64]), seed=0)
    mean = surrogate.fantasize(X, sampler).posterior(GRID[:, None]).mean
    assert mean.shape == (64, 2, MEMBERS, len(GRID), 1)
    expected = surrogate.mean(GRID)
    for candidate in mean.mean(dim=(0, 2)).squeeze(-1):
        np.testing.assert_allclose(candidate, expected, atol=0.02)


def paired(seed=0, images=40, own=0.0, lams=(0.0, 0.2, 0.45, 0.7, 1.0)):
    """Observations on the same images, whose scores differ in slope and curvature."""
    rng = np.random.default_rng(seed)
    x = np.array(lams)[:, None]
    slope, curvature = rng.normal(size=(2, images))
    noise = own * rng.normal(size=(len(lams), images))
    return observe(list(lams), list(-((x - 0.4) ** 2) + slope * x + curvature * x**2 + noise))


def test_the_covariance_is_the_mean_square_error_of_the_mean():
    """With correlated errors Σ: E = K** − WᵀK − KᵀW + Wᵀ(K + Σ)W for the weights W of the mean."""
    observed = paired(own=0.3)
    values = Hyperparameters(tensor(0.4), tensor(2.0), tensor(0.01))
    surrogate = Surrogate(observed, values, kernel="rbf")
    scale = observed.values.std().item() ** 2
    x, grid = observed.lams.numpy(), GRID.numpy()

    def k(a, b):
        return 2.0 * scale * np.exp(-((a[:, None] - b) ** 2) / (2 * 0.4**2))

    weights = surrogate.mean_weights(GRID).numpy()
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-10)  # a constant passes unchanged
    mean = weights.T @ observed.values.numpy()
    np.testing.assert_allclose(surrogate.mean(GRID), mean, atol=1e-10)
    errors = observed.covariance.numpy() + scale * NOISE_FLOOR * np.eye(5)
    both = weights.T @ k(x, grid)
    expected = k(grid, grid) - both - both.T + weights.T @ (k(x, x) + errors) @ weights
    np.testing.assert_allclose(surrogate.covariance(GRID), expected, atol=1e-10)
    np.testing.assert_allclose(surrogate.variance(GRID), expected.diagonal(), atol=1e-10)


def test_more_lams_on_the_same_images_do_not_make_the_answer_certain():
    """What the images prefer by chance stays, however many λs are tried on them."""
    few, many = (paired(lams=tuple(np.linspace(0, 1, n))) for n in (6, 24))
    ends = tensor(0.0, 1.0)
    contrast = tensor(-1.0, 1.0)
    spread = [(contrast @ fit_surrogate(o).covariance(ends) @ contrast).item() for o in (few, many)]
    assert spread[1] > 0.7 * spread[0]


def test_the_next_value_on_other_images_is_covariance_and_noise():
    surrogate = fit_surrogate(observations())
    candidates = tensor(0.1, 0.6)
    covariance, variance = surrogate.predictive(candidates, GRID)
    np.testing.assert_allclose(covariance, surrogate.covariance(candidates, GRID), atol=1e-6)
    expected = surrogate.variance(candidates) + surrogate.noise_variance
    np.testing.assert_allclose(variance, expected, rtol=1e-5)


def test_the_next_value_on_the_same_images_is_less_of_a_surprise():
    same = paired()
    other = Observations.independent(same.lams, same.values, same.working)
    near = tensor(0.4501)
    surprise = [fit_surrogate(o).predictive(near, GRID)[1].item() for o in (same, other)]
    assert surprise[0] < 0.3 * surprise[1]


def test_believing_an_evaluation_on_the_same_images_leaves_their_preference():
    surrogate = fit_surrogate(paired())
    everywhere = surrogate.believe(torch.linspace(0, 1, 9, dtype=torch.float64))
    np.testing.assert_allclose(everywhere.mean(GRID), surrogate.mean(GRID), atol=1e-8)
    contrast = tensor(-1.0, 1.0)
    before, after = (
        (contrast @ s.covariance(tensor(0.0, 1.0)) @ contrast).item()
        for s in (surrogate, everywhere)
    )
    assert 0.5 * before < after < 1.5 * before
