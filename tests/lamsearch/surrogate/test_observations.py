"""What observations check, and what they say about the next evaluation."""

import numpy as np
import pytest
import torch

from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.pairing import observe
from surrogate_data import images_of_curves


def test_observations_check_themselves():
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected, got"):
        Observations.independent(one, one, torch.ones(2, dtype=torch.float64))
    with pytest.raises(TypeError, match="float64"):
        Observations.independent(one, one, one.float())
    with pytest.raises(ValueError, match="finite"):
        Observations.independent(one, one * torch.nan, one)
    with pytest.raises(ValueError, match="negative"):
        Observations.independent(one, one, -one)


def test_next_error_follows_the_images_curves():
    """An evaluation at a λ between others, on the same images, has an error known beforehand."""
    rng = np.random.default_rng(2)
    at, new = [0.0, 0.25, 0.5, 0.75, 1.0], 0.4
    left, found = [], []
    for table in images_of_curves(80, [*at, new], 40, rng):
        observations = observe(at, list(table[:5]))
        coefficients, variance = observations.next_error(torch.tensor([new], dtype=torch.float64))
        error = table[:5].mean(1) - table[:5].mean()
        predicted = coefficients[:, 0].numpy() @ error
        actual = table[5].mean() - table[:5].mean()
        left.append((actual - predicted) ** 2)
        found.append((actual**2, variance.item()))
    actual, expected = np.mean(found, axis=0)
    assert np.mean(left) - 0.05**2 / 40 < 0.15 * actual
    assert expected == pytest.approx(actual, rel=0.5)


def test_the_next_value_after_a_single_number_has_unknown_noise():
    candidates = torch.tensor([0.2], dtype=torch.float64)
    assert observe([0.5], [1.0]).next_error(candidates)[1].isnan().all()
    single = observe([0.5], [[1.0, 2.0]])
    assert single.next_error(candidates)[1].item() == pytest.approx(single.offset_variance)
