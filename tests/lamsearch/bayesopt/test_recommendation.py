"""The recommendation: right place, honest width, no trouble in degenerate cases."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from lamsearch.bayesopt.recommendation import Tolerance, recommend, should_stop
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.hyperparameters import LENGTHSCALES, OUTPUTSCALES, PRIORS
from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.pairing import observe


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def observations(noise=1e-8, offset=0.0, peak=0.4):
    lams = torch.linspace(0, 1, 9, dtype=torch.float64)
    values = 0.2 - (lams - peak) ** 2
    return Observations.independent(lams, values, torch.full_like(lams, noise), offset)


def test_a_smooth_peak_is_found_between_the_evaluations():
    recommendation = recommend(fit_surrogate(observations(peak=0.43)))
    assert recommendation.lam == pytest.approx(0.43, abs=2e-3)
    assert recommendation.value == pytest.approx(0.2, abs=1e-4)
    assert recommendation.lam_interval[0] <= 0.43 <= recommendation.lam_interval[1]
    assert recommendation.best_observed == (0.375, pytest.approx(0.2 - 0.055**2))


@pytest.mark.parametrize(("peak", "end"), [(-0.5, 0.0), (1.5, 1.0)])
def test_an_optimum_at_the_end(peak, end):
    recommendation = recommend(fit_surrogate(observations(peak=peak)))
    assert recommendation.lam == pytest.approx(end, abs=1e-6)
    assert end in recommendation.lam_interval


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0, -7.1e5])
@pytest.mark.parametrize("images", [1, 64])
def test_scores_that_are_all_the_same_say_nothing_of_lam(level, images):
    surrogate = fit_surrogate(observe([0.0, 0.2, 0.4, 0.6, 1.0], [np.full(images, level)] * 5))
    assert recommend(surrogate).lam_interval == (0.0, 1.0)
    assert not should_stop(surrogate, tolerance=Tolerance(0.05), confidence=0.5)


def test_the_offset_counts_for_the_value_but_not_for_lam():
    without, with_offset = (recommend(fit_surrogate(observations(1e-3, o))) for o in (0.0, 0.04))
    assert with_offset.lam == without.lam
    assert with_offset.lam_interval == without.lam_interval
    expected = math.hypot(without.value_stderr, 0.2)
    assert with_offset.value_stderr == pytest.approx(expected)


def test_paired_scores_make_the_interval_sharp():
    """Images differ a thousand times more than λs do; pairing sees through it."""
    generator = torch.Generator().manual_seed(0)
    lams = torch.linspace(0, 1, 9, dtype=torch.float64)
    images = 10 * torch.randn(64, dtype=torch.float64, generator=generator)
    residual = 0.02 * torch.randn(9, 64, dtype=torch.float64, generator=generator)
    scores = images + residual + (0.2 - (lams - 0.4) ** 2)[:, None]
    recommendation = recommend(fit_surrogate(observe(lams.tolist(), list(scores))))
    assert recommendation.lam == pytest.approx(0.4, abs=0.03)
    assert recommendation.lam_interval[1] - recommendation.lam_interval[0] < 0.2
    assert recommendation.value_stderr == pytest.approx(10 / 8, rel=0.2)


def test_the_interval_grows_with_the_noise_and_repeats_with_the_seed():
    sharp, blunt = (recommend(fit_surrogate(observations(v))) for v in (1e-6, 1e-2))
    widths = [r.lam_interval[1] - r.lam_interval[0] for r in (sharp, blunt)]
    assert widths[0] < 0.1 < widths[1]
    assert recommend(fit_surrogate(observations(1e-2))) == blunt


@pytest.mark.slow
def test_the_winners_curse_is_not_in_the_value():
    """Of 20 studies of a flat curve the largest mean overrates J by far, the posterior hardly."""
    posterior, largest = 0.0, 0.0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        lams = torch.linspace(0, 1, 9, dtype=torch.float64)
        values = torch.randn(9, dtype=torch.float64, generator=generator)
        recommendation = recommend(
            fit_surrogate(Observations.independent(lams, values, torch.ones_like(lams)))
        )
        posterior += recommendation.value / 20
        largest += recommendation.best_observed[1] / 20
    assert largest > 1.2
    assert posterior < 0.6 * largest


@pytest.mark.slow
def test_the_interval_covers_on_draws_from_the_prior():
    """In 60 studies at nominal 95 % at most 7 misses: exceeded once in 100 times by chance."""
    generator = torch.Generator().manual_seed(1)
    grid = torch.linspace(0, 1, 101, dtype=torch.float64)
    covered = 0
    for _ in range(60):
        lengthscale, outputscale = (
            _prior_draw(name, nodes, generator)
            for name, nodes in (("lengthscale", LENGTHSCALES), ("outputscale", OUTPUTSCALES))
        )
        squares = (grid[:, None] - grid).square()
        covariance = outputscale * torch.exp(-squares / (2 * lengthscale**2))
        values, vectors = torch.linalg.eigh(covariance)
        normal = torch.randn(2, 101, dtype=torch.float64, generator=generator)
        curve = vectors @ (values.clamp_min(0).sqrt() * normal[0])
        at = torch.arange(0, 101, 10)
        observed = curve[at] + 0.2 * normal[1, at]
        surrogate = fit_surrogate(
            Observations.independent(
                grid[at], observed, torch.full((11,), 0.04, dtype=torch.float64)
            )
        )
        low, high = recommend(surrogate).lam_interval
        covered += low <= grid[curve.argmax()].item() <= high
    assert covered >= 53


def _prior_draw(name, nodes, generator):
    median, spread = PRIORS[name]
    weights = torch.exp(-((nodes / median).log() / spread).square() / 2)
    return nodes[torch.multinomial(weights, 1, generator=generator)]


@pytest.mark.parametrize("variance", [0.0, 1e-4, math.nan])
@pytest.mark.parametrize(
    ("lams", "values"),
    [
        ((0.3,), (0.5,)),
        ((0.3, 0.9), (0.5, 0.6)),
        ((0.3, 0.3), (0.5, 0.6)),
        ((0.3, 0.3, 0.3), (0.5, 0.5, 0.5)),
        ((0.0, 0.5, 1.0), (0.5, 0.5, 0.5)),
        ((2.0,), (0.5,)),
    ],
)
def test_degenerate_observations(lams, values, variance):
    variances = torch.full((len(lams),), variance, dtype=torch.float64)
    recommendation = recommend(
        fit_surrogate(Observations.independent(tensor(*lams), tensor(*values), variances))
    )
    low, high = recommendation.lam_interval
    assert 0 <= low <= recommendation.lam <= high <= 1
    assert math.isfinite(recommendation.value)
    assert recommendation.value_stderr >= 0


def test_one_evaluation_is_its_own_recommendation():
    recommendation = recommend(fit_surrogate(observe([0.3], [[1.0, 2.0, 4.0]])))
    assert recommendation.lam == pytest.approx(0.3)
    assert recommendation.value == pytest.approx(7 / 3)
    interval = scipy.stats.t.interval(0.95, 2, 7 / 3, scipy.stats.sem([1, 2, 4]))
    assert recommendation.value + 1.96 * recommendation.value_stderr == pytest.approx(
        interval[1], rel=0.01
    )
    assert recommendation.lam_interval[1] - recommendation.lam_interval[0] > 0.9


def test_gains_are_paired_differences_of_the_posterior():
    surrogate = fit_surrogate(observations(noise=1e-3, offset=5.0))
    answer = recommend(surrogate)
    generator = torch.Generator().manual_seed(0)
    draws = surrogate.draws(tensor(answer.lam, 0.0, 1.0), 50_000, generator=generator)
    for gain, other in ((answer.gain_over_reference, 1), (answer.gain_over_aligned, 2)):
        difference = draws[:, 0] - draws[:, other]
        assert gain.value == pytest.approx(
            difference.mean().item(), abs=0.02 * difference.std().item()
        )
        assert gain.stderr == pytest.approx(difference.std().item(), rel=0.02)
        assert gain.interval[1] - gain.value == pytest.approx(1.96 * gain.stderr, rel=1e-3)
        assert gain.stderr < 1  # the offset of 5 is no part of it


def test_the_probability_of_a_small_loss_is_that_of_posterior_draws():
    surrogate = fit_surrogate(observations(noise=1e-3))
    answer = recommend(surrogate, tolerance=Tolerance(0.01, relative=False))
    lams = torch.linspace(0, 1, 201, dtype=torch.float64)
    with_answer = torch.cat([tensor(answer.lam), lams])
    draws = surrogate.draws(with_answer, 8000, generator=torch.Generator().manual_seed(7))
    loss = draws.max(dim=1).values - draws[:, 0]
    assert answer.epsilon == 0.01
    assert answer.probability == pytest.approx((loss <= 0.01).double().mean().item(), abs=0.03)
    assert answer.expected_loss == pytest.approx(loss.mean().item(), rel=0.1)
    assert 0.2 < answer.probability < 0.98


def test_a_relative_tolerance_is_a_share_of_the_curves_range():
    surrogate = fit_surrogate(observations(noise=1e-8))
    assert Tolerance(0.05)(surrogate) == pytest.approx(0.05 * 0.36, rel=5e-3)
    assert Tolerance(0.05, relative=False)(surrogate) == 0.05


def test_a_search_stops_when_it_is_sure_and_not_before_five_evaluations():
    def stops(noise, count=9, confidence=0.9):
        observed = observations(noise=noise)
        lams, values = observed.lams[:count], observed.values[:count]
        part = Observations.independent(lams, values, observed.variances[:count])
        surrogate = fit_surrogate(part)
        return should_stop(surrogate, tolerance=Tolerance(0.05), confidence=confidence)

    assert stops(1e-6)
    assert not stops(1e-6, count=4)
    assert not stops(1e-2)
    assert not stops(1e-3, confidence=0.9999)


def test_more_images_help_where_the_plan_limits_the_answer_and_more_lams_where_they_do():
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=20)

    def share(lams, spread):
        scores = [-((lam - 0.4) ** 2) + spread * slopes * lam for lam in lams]
        return recommend(fit_surrogate(observe(lams, scores))).plan_share

    many = np.linspace(0, 1, 12).tolist()
    assert share(many, spread=1.0) > 0.7
    assert share([0.0, 0.5, 1.0], spread=0.01) < 0.3
    assert recommend(fit_surrogate(observations())).plan_share is None
    surrogate = fit_surrogate(observe(many, [-((lam - 0.4) ** 2) + slopes * lam for lam in many]))
    # The paper's answer loses by its rule as well.
    assert recommend(surrogate, observed=True).plan_share is None
    below = recommend(surrogate, feasible=lambda lams: (lams < 0.3).double())
    assert below.lam < 0.3
    assert below.plan_share > 0.7


def test_a_constraint_restricts_the_answer_and_its_edge_is_in_the_interval():
    surrogate = fit_surrogate(observations(noise=1e-4, peak=0.8))
    scale = 0.02  # of the edge, which has a logistic distribution about 0.4

    def below_half(lams):
        return torch.sigmoid((0.4 - lams) / scale)

    answer = recommend(surrogate, feasible=below_half, confidence=0.9)
    assert answer.lam == pytest.approx(0.4 - scale * math.log(9), abs=1e-3)
    assert below_half(tensor(answer.lam)) >= 0.9
    tail = scale * math.log(39)
    assert answer.lam_interval == pytest.approx((0.4 - tail, 0.4 + tail), abs=0.02)
    slack = recommend(surrogate, feasible=lambda lams: torch.ones_like(lams))
    assert slack == recommend(surrogate)
    nowhere = recommend(surrogate, feasible=lambda lams: 0.5 * below_half(lams), confidence=0.9)
    assert 0 <= nowhere.lam < 0.4


def test_the_papers_answer_is_the_best_observed():
    observed = observations()
    values = observed.values.clone()
    values[7] += 1.0
    surrogate = fit_surrogate(
        Observations.independent(observed.lams, values, torch.full_like(values, 0.5))
    )
    answer = recommend(surrogate, observed=True)
    assert answer.lam == observed.lams[7].item()
    assert recommend(surrogate).lam != answer.lam


def test_the_best_observed_is_one_where_the_constraint_holds():
    surrogate = fit_surrogate(observations(peak=0.6))

    def below_half(lams):
        return (lams < 0.5).double()

    assert recommend(surrogate, observed=True, feasible=below_half).lam == 0.375
    hopeless = recommend(surrogate, feasible=lambda lams: 1e-12 * (1.1 - lams), confidence=0.9)
    assert hopeless.lam == pytest.approx(0.0, abs=0.02)
