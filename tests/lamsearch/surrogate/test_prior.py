"""The prior of J, and its fast evidence."""

import math

import numpy as np
import pytest
import torch

from lamsearch.surrogate.gaussian_process import Data, condition
from lamsearch.surrogate.hyperparameters import Hyperparameters, grid
from lamsearch.surrogate.prior import CORRELATIONS, KERNELS, Prior
from lamsearch.surrogate.standardization import NOISE_FLOOR


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_correlation_is_one_at_zero_and_falls(kernel):
    distances = torch.linspace(0, 4, 50, dtype=torch.float64)
    values = CORRELATIONS[kernel](distances)
    assert values[0] == 1
    assert (values.diff() < 0).all()


def test_the_kernel_is_that_of_the_paper():
    values = torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64).view(3, 1)
    lams = torch.tensor([0.2, 1.1], dtype=torch.float64)
    found = Prior(Hyperparameters(*values), "rbf", width=2.0).covariance(lams, lams)
    expected = 2.0 * math.exp(-(0.9**2) / (2 * (0.5 * 2.0) ** 2))
    np.testing.assert_allclose(found, [[[2.0, expected], [expected, 2.0]]])


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
    data = Data(lams, targets.expand(len(noise), n), everywhere, excess)
    full = condition(prior, data).log_evidence()
    # K + D amplifies rounding by its condition number, in either way of computing.
    harmless = nodes.outputscale < 1e3 * noise
    np.testing.assert_allclose(fast[harmless], full[harmless], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fast, full, rtol=1e-6, atol=1e-12)
