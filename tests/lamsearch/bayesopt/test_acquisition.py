"""Acquisitions equal their definitions by Monte Carlo, and stay finite where numbers run out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamsearch.bayesopt.acquisition import (
    ACQUISITIONS,
    CLEARANCE,
    expected_improvement,
    log_expected_improvement,
    next_lam,
    ucb_width,
    upper_confidence_bound,
)
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.bayesopt.knowledge_gradient import expected_maximum_gain, knowledge_gradient
from lamsearch.bayesopt.line_search import maximize_on_line
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.pairing import observe


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def surrogate(n=5, noise=0.01, bounds=(0.0, 1.0)):
    lams = torch.linspace(*bounds, n, dtype=torch.float64)
    values = torch.exp(-((lams - 0.6) ** 2) / 0.1) + 0.05 * torch.sin(40 * lams)
    return fit_surrogate(
        Observations.independent(lams, values, torch.full_like(lams, noise)), bounds=bounds
    )


def normal_draws(count=400_000):
    return torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("mean", "variance"), [(0.2, 0.09), (-0.5, 0.25), (1.0, 0.01), (0, 4)])
def test_expected_improvement_equals_monte_carlo(mean, variance):
    improvement = (mean + math.sqrt(variance) * normal_draws() - 0.1).clamp_min(0)
    error = improvement.std().item() / math.sqrt(len(improvement))
    value = expected_improvement(tensor(mean), tensor(variance), 0.1).item()
    assert value == pytest.approx(improvement.mean().item(), abs=4 * error)


def test_expected_improvement_equals_equation_43():
    mean, sigma, incumbent = np.linspace(-2, 2, 41), 0.7, 0.3
    z = (mean - incumbent) / sigma
    phi = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    cdf = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z])
    expected = (mean - incumbent) * cdf + sigma * phi
    variance = torch.full((41,), sigma**2, dtype=torch.float64)
    value = expected_improvement(torch.tensor(mean), variance, incumbent)
    np.testing.assert_allclose(value, expected, rtol=1e-10)


def test_log_expected_improvement_where_it_underflows():
    z = -torch.logspace(-2, 12, 400, dtype=torch.float64)
    value = log_expected_improvement(z, torch.ones_like(z), 0.0)
    assert value.isfinite().all()
    assert (value.diff() < 0).all()
    far = z < -200
    asymptotic = -z.square() / 2 - 2 * (-z).log() - math.log(2 * math.pi) / 2
    np.testing.assert_allclose(value[far], asymptotic[far], atol=2e-4, rtol=1e-12)


def test_no_variance_leaves_the_certain_improvement():
    value = expected_improvement(tensor(2.0, 0.5, 1.0), tensor(0.0, 0.0, 0.0), 1.0)
    np.testing.assert_allclose(value, [1.0, 0.0, 0.0], atol=1e-100)


def test_ucb_width_is_the_papers():
    assert ucb_width(3, 0.2) == pytest.approx(math.sqrt(2 * math.log(9 * math.pi**2 / 1.2)))
    values = upper_confidence_bound(tensor(1.0, 2.0), tensor(4.0, 0.25), 1.5)
    assert values.tolist() == [4.0, 2.75]


@pytest.mark.parametrize(("n", "delta"), [(0, 0.1), (1, 0.0), (1, 1.0)])
def test_ucb_width_refuses_the_impossible(n, delta):
    with pytest.raises(ValueError, match="ucb_width"):
        ucb_width(n, delta)


@given(
    lines=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_expected_maximum_equals_integration(lines):
    a, b = (torch.tensor(column, dtype=torch.float64) for column in zip(*lines, strict=True))
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    envelope = (a[:, None] + b[:, None] * z).max(dim=0).values
    expected = torch.trapezoid(envelope * density, z) - a.max()
    gain = expected_maximum_gain(a, b[None])
    assert gain.item() == pytest.approx(expected.item(), abs=1e-6)
    assert gain.item() >= 0


def test_knowledge_gradient_equals_monte_carlo_on_the_surrogate():
    model, line = surrogate(), torch.linspace(0, 1, 41, dtype=torch.float64)
    candidates = tensor(0.1, 0.6, 0.72)
    mean, covariance = model.mean(line), model.covariance(candidates, line)
    variance = model.variance(candidates) + model.observations.working_variances.mean()
    exact = knowledge_gradient(mean, covariance, variance)
    z = normal_draws(50_000)[:, None]
    for c in range(3):
        updated = (mean + covariance[c] / variance[c].sqrt() * z).max(dim=1).values - mean.max()
        error = updated.std().item() / math.sqrt(len(updated))
        assert exact[c].item() == pytest.approx(updated.mean().item(), abs=4 * error)


def test_an_evaluation_without_information_gains_nothing():
    assert knowledge_gradient(tensor(1, 2), tensor(0, 0)[None], tensor(0.0)).item() == 0
    level = expected_maximum_gain(tensor(0.0, 0.0), tensor(1.0, 1.0)[None])
    assert level.item() == 0


@pytest.mark.parametrize(("peak", "bounds"), [(0.3141, (0, 1)), (0, (0, 1)), (2.5, (0, 2.5))])
def test_line_search_finds_maxima(peak, bounds):
    lam, value = maximize_on_line(lambda x: -(x - peak).abs(), bounds, zooms=3)
    assert lam == pytest.approx(peak, abs=1e-5 * bounds[1])
    assert value == pytest.approx(0, abs=1e-5 * bounds[1])
    assert bounds[0] <= lam <= bounds[1]


def test_line_search_takes_the_higher_of_two_peaks():
    def two(x):
        return torch.exp(-((x - 0.2) ** 2) / 0.001) + 1.01 * torch.exp(-((x - 0.9) ** 2) / 0.001)

    assert maximize_on_line(two, (0.0, 1.0))[0] == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_next_lam_is_pure_and_keeps_its_distance(acquisition):
    taken = [*surrogate().observations.lams.tolist()]
    pending = []
    for _ in range(6):
        lam = next_lam(surrogate(), acquisition=acquisition, pending=pending)
        assert lam == next_lam(surrogate(), acquisition=acquisition, pending=pending)
        assert 0 <= lam <= 1
        assert min(abs(lam - other) for other in taken + pending) >= CLEARANCE
        pending.append(lam)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_suggestions_reveal_the_peak(acquisition):
    lams = [0.0, 1.0, 0.35, 0.7]
    for _ in range(6):
        at = torch.tensor(lams, dtype=torch.float64)
        model = fit_surrogate(
            Observations.independent(at, -((at - 0.42) ** 2), torch.full_like(at, 1e-6))
        )
        lams.append(next_lam(model, acquisition=acquisition))
    assert maximize_on_line(model.mean, (0.0, 1.0))[0] == pytest.approx(0.42, abs=5e-3)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize(
    ("lams", "values", "variance"),
    [
        ((0.5,), (0.3,), 0.0),
        ((0.5,), (0.3,), math.nan),
        ((0.2, 0.2), (0.3, 0.3), 0.0),
        ((0.0, 0.5, 1.0), (0.0, 0.0, 0.0), 0.0),
        ((0.0, 0.5, 1.0), (1e9, -1e9, 0.0), 1e-9),
        ((0.0, 0.5, 1.0), (0.23, 0.2300001, 0.23), 1e20),
    ],
)
def test_next_lam_in_extreme_cases(acquisition, lams, values, variance):
    observed = Observations.independent(
        tensor(*lams), tensor(*values), torch.full((len(lams),), variance).double()
    )
    lam = next_lam(fit_surrogate(observed), acquisition=acquisition, pending=(0.7,))
    assert 0 <= lam <= 1
    assert min(abs(lam - other) for other in (*lams, 0.7)) >= CLEARANCE


def test_knowledge_gradient_moves_on_from_where_evaluations_fail():
    lams = torch.tensor([0.0, 0.3, 0.6], dtype=torch.float64)
    images = torch.randn(3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = fit_surrogate(observe(lams.tolist(), list(lams[:, None] + 0.5 * images)))
    failed = []
    while len(failed) < 9 and (lam := next_lam(model, acquisition="kg", pending=failed)) > 0.8:
        failed.append(lam)
    assert 1 <= len(failed) < 9


def test_where_no_room_is_left_the_widest_gap_is_taken():
    crowd = [0.004 * i for i in range(251) if i != 100]
    assert next_lam(surrogate(), taken=crowd) == pytest.approx(0.4, abs=2e-3)


@pytest.mark.parametrize("acquisition", ["ei", "ucb", "kg"])
def test_between_the_points_of_a_grid_that_was_evaluated_the_peak_is_still_found(acquisition):
    lams = torch.linspace(0, 1, 101, dtype=torch.float64)
    values = -((lams - 0.7) ** 2)
    crowded = fit_surrogate(Observations.independent(lams, values, torch.full_like(values, 1e-4)))
    assert next_lam(crowded, acquisition=acquisition) == pytest.approx(0.7, abs=0.11)


def test_unknown_acquisition_names_the_choices():
    with pytest.raises(ValueError, match=r"'pi'.*'auto', 'ei', 'ucb', 'kg'"):
        next_lam(surrogate(), acquisition="pi")


def test_initial_design_holds_the_reference_and_the_aligned_model():
    lams = initial_lams(4, seed=5)
    assert lams[:2] == [0.0, 1.0]
    assert lams == initial_lams(4, seed=5)
    assert lams != initial_lams(4, seed=6)
    assert initial_lams(1) == [0.0]
    assert initial_lams(4, bounds=(0.0, 1.5))[:3] == [0.0, 1.0, 1.5]
    assert initial_lams(3, bounds=(0.2, 0.8))[:2] == [0.2, 0.8]


@given(count=st.integers(1, 12), seed=st.integers(0, 1000), low=st.floats(-1, 1))
@settings(max_examples=50, deadline=None)
def test_initial_design_fills_the_bounds(count, seed, low):
    bounds = (low, low + 1.3)
    lams = initial_lams(count, bounds=bounds, seed=seed)
    assert len(set(lams)) == count
    assert all(bounds[0] <= lam <= bounds[1] for lam in lams)
    if count >= 4:
        assert max(np.diff(sorted(lams))) < 2.6 * 1.3 / (count - 1)


def test_uniform_design_is_the_papers():
    lams = initial_lams(2000, bounds=(1.0, 3.0), seed=0, design="uniform")
    assert min(lams) >= 1
    assert max(lams) <= 3
    assert np.mean(lams) == pytest.approx(2, abs=0.05)
    assert np.std(lams) == pytest.approx(2 / math.sqrt(12), abs=0.03)


@pytest.mark.parametrize(("count", "design"), [(0, "anchored"), (4, "sobol")])
def test_impossible_design_is_refused(count, design):
    with pytest.raises(ValueError, match="design"):
        initial_lams(count, design=design)
