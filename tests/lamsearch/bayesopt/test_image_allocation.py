"""Images where they matter: what was begun is finished, and λs come where λs are missing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamsearch.bayesopt.acquisition import CLEARANCE
from lamsearch.bayesopt.image_allocation import BLOCK, LEAST_NEW, Step, _Gain, next_step
from lamsearch.surrogate.comparison import comparison_covariance
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.pairing import observe

LAMS = (0.0, 0.25, 0.45, 0.6, 1.0)
ENDLESS = 10**6


def scores(lam, stop, noise=0.3, seed=0):
    """Scores of the first images of a plan: a curve with its peak at 0.5, and smooth deviations."""
    level, slope, curvature = np.random.default_rng(seed).normal(size=(3, 4096))[:, :stop]
    own = np.random.default_rng([seed, int(1e6 * lam)]).normal(size=4096)[:stop]
    deviations = level + noise * (slope * lam + 0.5 * curvature * lam**2 + 0.1 * own)
    return deviations - (lam - 0.5) ** 2


def fitted(lams, counts, **situation):
    rows = [scores(lam, count, **situation) for lam, count in zip(lams, counts, strict=True)]
    width = max(counts)
    table = [np.pad(row, (0, width - len(row)), constant_values=np.nan) for row in rows]
    return fit_surrogate(observe(list(lams), table))


def scatter(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(n, n + 2, dtype=torch.float64, generator=generator)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    return centre @ factor @ factor.T @ centre


def gain(surrogate, counts):
    line = torch.linspace(0, 1, 51, dtype=torch.float64)
    return _Gain(surrogate, counts, line=line, means=surrogate.mean(line))


def eigenvalues(matrix):
    return torch.linalg.eigvalsh(matrix)


@pytest.mark.parametrize("counts", [(48,) * 5, (32, 64, 48, 64, 32)])
def test_the_covariance_of_the_present_counts_is_that_of_the_observations(counts):
    observations = fitted(LAMS, counts).observations
    covariance = comparison_covariance(observations.image_noise.scatter, counts)
    np.testing.assert_allclose(covariance, observations.covariance, rtol=1e-6, atol=1e-12)


def test_with_equal_counts_the_covariance_is_the_scatter_of_a_mean():
    covariance = comparison_covariance(scatter(4), [50] * 4)
    np.testing.assert_allclose(covariance, scatter(4) / 50, rtol=1e-5, atol=1e-7)


@given(
    counts=st.lists(st.integers(1, 200), min_size=2, max_size=6),
    more=st.lists(st.integers(0, 100), min_size=6, max_size=6),
    seed=st.integers(0, 99),
)
def test_more_images_never_make_a_comparison_worse(counts, more, seed):
    """In the Loewner order, that is for every contrast."""
    raised = [count + add for count, add in zip(counts, more, strict=False)]
    now, then = (comparison_covariance(scatter(len(counts), seed), c) for c in (counts, raised))
    assert eigenvalues(now - then).min() >= -1e-7 * eigenvalues(now).max()
    np.testing.assert_allclose(now.sum(dim=0), 0, atol=1e-7 * eigenvalues(now).max())


def test_the_mean_moves_with_the_values_by_its_weights():
    surrogate = fitted(LAMS, (48,) * 5)
    observations = surrogate.observations
    line = torch.linspace(0, 1, 7, dtype=torch.float64)
    weights = surrogate.kriging_weights(line)
    np.testing.assert_allclose(weights.sum(dim=0), 1, atol=1e-9)
    means = surrogate.mean(line)
    np.testing.assert_allclose(
        (weights.T @ observations.values).diff(), means.diff(), rtol=1e-6, atol=1e-9
    )


def test_an_image_seen_at_one_lam_only_gains_nothing():
    surrogate = fitted(LAMS, (48,) * 5)
    of = gain(surrogate, (48,) * 5)
    assert of((48,) * 5) == 0
    for j in range(5):
        assert of([48 + BLOCK * (i == j) for i in range(5)]) == 0
    assert of((48, 64, 64, 48, 48)) > 0


def test_the_gain_is_the_mean_of_the_largest_mean():
    surrogate, counts, raised = fitted(LAMS, (32,) * 5), (32,) * 5, (32, 96, 96, 96, 32)
    line = torch.linspace(0, 1, 51, dtype=torch.float64)
    weights, means = surrogate.kriging_weights(line), surrogate.mean(line)
    deviations = surrogate.observations.image_noise.scatter
    moves = comparison_covariance(deviations, counts) - comparison_covariance(deviations, raised)
    draws = np.random.default_rng(0).multivariate_normal(
        means.numpy(), (weights.T @ moves @ weights).numpy(), size=40_000, check_valid="ignore"
    )
    rise = draws.max(axis=1) - means.max().item()
    assert gain(surrogate, counts)(raised) == pytest.approx(
        rise.mean(), rel=0.1, abs=4 * rise.std() / math.sqrt(len(rise))
    )


@pytest.mark.parametrize("refitted", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_what_was_begun_is_gone_on_with(refitted, seed):
    """A block at one λ alone tells nothing: the next step brings its images to another λ."""
    lams, counts = list(np.linspace(0, 1, 9)), [32] * 9
    surrogate = fitted(lams, counts, noise=1.0, seed=seed)
    first = next_step(surrogate, counts, limit=ENDLESS)
    assert first == Step(first.lam, 32, 48)
    begun = lams.index(first.lam)
    counts[begun] = first.stop
    if refitted:
        surrogate = fitted(lams, counts, noise=1.0, seed=seed)
    second = next_step(surrogate, counts, limit=ENDLESS)
    assert second.lam in lams
    assert second.lam != first.lam
    assert (second.start, second.stop) == (32, 48)


def test_many_lams_with_few_images_get_images_and_few_with_many_get_a_lam():
    lams = list(np.linspace(0, 1, 15))
    step = next_step(fitted(lams, [32] * 15, noise=1.0), [32] * 15, limit=ENDLESS)
    assert step.lam in lams
    assert step.start == 32
    few = (0.0, 0.3, 0.8, 1.0)
    step = next_step(fitted(few, [64] * 4, noise=1e-4), [64] * 4, limit=ENDLESS)
    assert step.lam not in few
    assert (step.start, step.stop) == (0, 64)


def test_a_new_lam_gets_the_images_of_the_fewer_of_its_neighbours():
    few, counts = (0.0, 0.3, 0.8, 1.0), [16, 96, 80, 16]
    surrogate = fitted(few, counts, noise=1e-4)
    step = next_step(surrogate, counts, limit=ENDLESS)
    assert 0.3 < step.lam < 0.8
    assert step == Step(step.lam, 0, 80)
    counts = [16] * 4
    step = next_step(fitted(few, counts, noise=1e-4), counts, limit=ENDLESS)
    assert (step.start, step.stop) == (0, LEAST_NEW)


@given(
    counts=st.lists(st.integers(1, 6).map(lambda b: b * BLOCK), min_size=5, max_size=5),
    limit=st.integers(1, 100),
    noise=st.sampled_from([1e-3, 1.0]),
)
@settings(max_examples=25)
def test_a_step_stays_within_the_limit_and_follows_on_what_is_there(counts, limit, noise):
    step = next_step(fitted(LAMS, counts, noise=noise), counts, limit=limit)
    assert 1 <= step.stop - step.start <= limit
    assert step.start == dict(zip(LAMS, counts, strict=True)).get(step.lam, 0)


def test_a_whole_budget_is_used_up_to_the_last_image():
    counts, budget = dict.fromkeys(LAMS, 32), 471
    while left := budget - sum(counts.values()):
        step = next_step(
            fitted(list(counts), list(counts.values())), list(counts.values()), limit=left
        )
        counts[step.lam] = step.stop
    assert sum(counts.values()) == budget


def test_the_same_state_gives_the_same_step_and_is_not_changed():
    counts, pending, state = [48] * 5, [Step(0.45, 48, 64)], torch.random.get_rng_state()
    surrogate = fitted(LAMS, counts)
    before = surrogate.mean(torch.tensor(LAMS, dtype=torch.float64))
    steps = {next_step(surrogate, counts, limit=100, pending=pending) for _ in range(2)}
    steps.add(next_step(fitted(LAMS, counts), counts, limit=100, pending=pending))
    assert len(steps) == 1
    assert (counts, pending) == ([48] * 5, [Step(0.45, 48, 64)])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(surrogate.mean(torch.tensor(LAMS, dtype=torch.float64)), before)


def test_workers_do_not_make_the_same_images():
    lams, counts = list(np.linspace(0, 1, 9)), [32] * 9
    surrogate = fitted(lams, counts, noise=1.0)
    pending: list[Step] = []
    for _ in range(6):
        pending.append(next_step(surrogate, counts, limit=ENDLESS, pending=pending))
    seen = [(step.lam, image) for step in pending for image in range(step.start, step.stop)]
    assert len(set(seen)) == len(seen)
    # The second does what would have been done had the first one finished.
    done = [pending[0].stop if lam == pending[0].lam else 32 for lam in lams]
    assert pending[1] == next_step(surrogate, done, limit=ENDLESS)


def test_workers_spread_over_new_lams():
    few, counts = (0.0, 0.3, 0.8, 1.0), [64] * 4
    surrogate = fitted(few, counts, noise=1e-4)
    first = next_step(surrogate, counts, limit=ENDLESS)
    second = next_step(surrogate, counts, limit=ENDLESS, pending=[first])
    assert abs(second.lam - first.lam) >= CLEARANCE
    third = next_step(surrogate, counts, limit=ENDLESS, pending=[Step(first.lam, 0, 0)])
    assert abs(third.lam - first.lam) >= CLEARANCE


def test_new_lams_are_where_the_constraint_may_hold():
    few, counts = (0.0, 0.3, 0.8, 1.0), [64] * 4
    surrogate = fitted(few, counts, noise=1e-4)
    step = next_step(surrogate, counts, limit=ENDLESS, feasible=lambda x: (x < 0.25).double())
    assert step.lam < 0.25


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.4, 0.3]])
def test_plain_numbers_leave_only_new_lams(values):
    lams = [j / len(values) for j in range(len(values))]
    surrogate: Surrogate = fit_surrogate(observe(lams, values))
    for limit, images in ((ENDLESS, LEAST_NEW), (5, 5)):
        step = next_step(surrogate, [1] * len(values), limit=limit)
        assert step.lam not in lams
        assert (step.start, step.stop) == (0, images)


@pytest.mark.parametrize(("counts", "limit"), [([32] * 4, 9), ([32] * 4 + [0], 9), ([32] * 5, 0)])
def test_what_cannot_be_is_refused(counts, limit):
    with pytest.raises(ValueError, match="5 counts ≥ 1 and limit ≥ 1 expected"):
        next_step(fitted(LAMS, [32] * 5), counts, limit=limit)
