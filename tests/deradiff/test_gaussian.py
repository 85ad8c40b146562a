"""Theorem 1 and A.4: the mixture is the normalised product of densities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deradiff import Gaussian, InvalidMixtureError, geometric_mixture, kl_divergence
from deradiff.gaussian import mixture_weights

means = st.floats(-2, 2)
variances = st.floats(0.05, 3)
weights = st.floats(0, 1)


def one(mean: float, variance: float) -> Gaussian:
    return Gaussian(
        torch.tensor([[mean]], dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)
    )


def log_density(gaussian: Gaussian, x: torch.Tensor) -> torch.Tensor:
    return torch.distributions.Normal(gaussian.mean[0, 0], gaussian.variance.sqrt()).log_prob(x)


@given(st.lists(st.tuples(means, variances), min_size=2, max_size=4), st.data())
def test_mixture_is_the_normalised_product_of_densities(
    parameters: list[tuple[float, float]], data: st.DataObject
) -> None:
    gaussians = [one(*p) for p in parameters]
    lams = [data.draw(weights) / (len(gaussians) - 1) for _ in gaussians[1:]]
    mixture = geometric_mixture(gaussians[0], gaussians[1:], lams)

    x = torch.linspace(-25, 25, 10001, dtype=torch.float64)
    product = (1 - sum(lams)) * log_density(gaussians[0], x)
    for lam, gaussian in zip(lams, gaussians[1:], strict=True):
        product += lam * log_density(gaussian, x)
    density = product.exp() / torch.trapezoid(product.exp(), x)
    torch.testing.assert_close(log_density(mixture, x).exp(), density, rtol=1e-7, atol=1e-10)


@given(means, variances, means, variances)
def test_weights_0_and_1_are_the_models_themselves(
    m1: float, v1: float, m2: float, v2: float
) -> None:
    reference, aligned = one(m1, v1), one(m2, v2)
    for lam, expected in ((0.0, reference), (1.0, aligned)):
        mixture = geometric_mixture(reference, aligned, lam)
        assert torch.equal(mixture.mean, expected.mean)
        assert torch.equal(mixture.variance, expected.variance)


@given(means, variances, st.floats(-3, 3))
def test_identical_models_make_lam_irrelevant(mean: float, variance: float, lam: float) -> None:
    gaussian = one(mean, variance)
    mixture = geometric_mixture(gaussian, gaussian, lam)
    torch.testing.assert_close(mixture.mean, gaussian.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture.variance, gaussian.variance, rtol=1e-12, atol=0)


def test_equal_variances_interpolate_the_means() -> None:
    reference = Gaussian(torch.randn(3, 4, 2, 2), torch.tensor(0.3))
    aligned = Gaussian(torch.randn(3, 4, 2, 2), torch.tensor(0.3))
    lam = torch.tensor([0.0, 0.4, 1.7])
    mixture = geometric_mixture(reference, aligned, lam)
    shaped = lam[:, None, None, None]
    torch.testing.assert_close(mixture.mean, (1 - shaped) * reference.mean + shaped * aligned.mean)
    torch.testing.assert_close(mixture.variance, torch.full((3, 1, 1, 1), 0.3))


def test_one_weight_per_batch_element_equals_one_call_each() -> None:
    torch.manual_seed(0)
    reference = Gaussian(torch.randn(4, 3, 2), torch.rand(4, 3, 2) + 0.1)
    aligned = Gaussian(torch.randn(4, 3, 2), torch.rand(4, 3, 2) + 0.1)
    lam = torch.tensor([0.0, 0.25, 0.5, 1.0])
    together = geometric_mixture(reference, aligned, lam)
    for i, weight in enumerate(lam.tolist()):
        alone = geometric_mixture(
            Gaussian(reference.mean[i : i + 1], reference.variance[i : i + 1]),
            Gaussian(aligned.mean[i : i + 1], aligned.variance[i : i + 1]),
            weight,
        )
        torch.testing.assert_close(together.mean[i : i + 1], alone.mean)
        torch.testing.assert_close(together.variance[i : i + 1], alone.variance)


def test_several_anchors_with_one_weight_reduce_to_theorem_1() -> None:
    reference, first, second = one(0.3, 0.5), one(-1.0, 0.7), one(2.0, 0.2)
    single = geometric_mixture(reference, first, 0.6)
    several = geometric_mixture(reference, [first, second], [0.6, 0.0])
    torch.testing.assert_close(several.mean, single.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(several.variance, single.variance, rtol=1e-12, atol=0)


def test_zero_variance_is_the_limit_of_small_equal_variances() -> None:
    zero = geometric_mixture(one(0.0, 0.0), one(1.0, 0.0), 0.3)
    small = geometric_mixture(one(0.0, 1e-12), one(1.0, 1e-12), 0.3)
    torch.testing.assert_close(zero.mean, small.mean, rtol=1e-12, atol=1e-12)
    assert float(zero.variance) == 0
    # A point mass that takes part decides; one of weight 0 takes no part.
    assert float(geometric_mixture(one(0.0, 0.0), one(1.0, 2.0), 0.3).mean) == 0
    assert float(geometric_mixture(one(0.0, 0.0), one(1.0, 2.0), 1.0).variance) == 2


def test_extrapolation_is_refused_exactly_where_the_precision_is_not_positive() -> None:
    reference, aligned = one(0.0, 1.0), one(1.0, 2.0)
    # precision (1 − λ) + λ/2 is 0 at λ = 2
    assert float(geometric_mixture(reference, aligned, 1.99).variance) == pytest.approx(200)
    for lam in (2.0, 3.5):
        with pytest.raises(InvalidMixtureError, match=rf"lam = {lam}.*'1', '2'"):
            geometric_mixture(reference, aligned, lam)
    assert issubclass(InvalidMixtureError, ValueError)


@pytest.mark.parametrize("lam", [math.nan, math.inf, [0.1, 0.2], torch.zeros(2, 2)])
def test_unusable_weights_are_refused(lam: object) -> None:
    with pytest.raises(ValueError, match="lam"):
        geometric_mixture(one(0, 1), one(1, 1), lam)


@given(means, variances, means, variances)
def test_kl_divergence_equals_the_integral(m1: float, v1: float, m2: float, v2: float) -> None:
    p, q = one(m1, v1), one(m2, v2)
    x = torch.linspace(-30, 30, 20001, dtype=torch.float64)
    log_p, log_q = log_density(p, x), log_density(q, x)
    integral = torch.trapezoid(log_p.exp() * (log_p - log_q), x)
    torch.testing.assert_close(kl_divergence(p, q)[0], integral, rtol=1e-6, atol=1e-9)


def test_kl_to_the_reference_has_its_closed_form_for_equal_variances() -> None:
    reference, aligned = (Gaussian(torch.randn(2, 5), torch.tensor(0.4)) for _ in range(2))
    mixture = geometric_mixture(reference, aligned, 0.7)
    expected = 0.7**2 * (aligned.mean - reference.mean).square().sum(1) / (2 * 0.4)
    torch.testing.assert_close(kl_divergence(mixture, reference), expected)


def test_kl_of_point_masses() -> None:
    assert float(kl_divergence(one(1, 0), one(1, 0))) == 0
    for p, q in ((one(1, 0), one(2, 0)), (one(1, 1), one(1, 0)), (one(1, 0), one(1, 1))):
        assert float(kl_divergence(p, q)) == math.inf


def test_weights_may_be_any_real_number_and_rounding_is_no_weight() -> None:
    assert mixture_weights(np.float32(0.25), 1) == (0.75, 0.25)
    assert mixture_weights(torch.tensor(0.25), 1) == (0.75, 0.25)
    assert mixture_weights([0.1, 0.2, 0.7], 3)[0] == 0.0


def test_samples_have_the_stated_moments() -> None:
    gaussian = Gaussian(torch.full((1, 200_000), 2.0), torch.tensor(0.25))
    draws = gaussian.sample(torch.randn(1, 200_000, generator=torch.Generator().manual_seed(0)))
    assert float(draws.mean()) == pytest.approx(2.0, abs=4 * 0.5 / 200_000**0.5)
    assert float(draws.var()) == pytest.approx(0.25, rel=0.02)
