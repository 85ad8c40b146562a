"""What more images are worth, against studies that have them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

import lamsearch
from lamsearch.report.costs import CostsConfig
from lamsearch.report.more_images import (
    contrast_stderr,
    factor_to_halve,
    find_more_images,
    with_images,
)
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.pairing import observe

LAMS = np.linspace(0, 1, 9)


def scores(images: int, noise: float, seed: int = 0) -> list[np.ndarray]:
    """A smooth curve, with image effects and deviations that are independent over λ."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0, 1, size=images)
    return [effect - (lam - 0.5) ** 2 + noise * rng.normal(size=images) for lam in LAMS]


def fitted(images: int, noise: float, seed: int = 0) -> Surrogate:
    return fit_surrogate(observe(LAMS.tolist(), scores(images, noise, seed)))


def test_as_many_images_change_nothing() -> None:
    surrogate = fitted(64, 0.3)
    line = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    same = with_images(surrogate, 1.0)
    torch.testing.assert_close(same.mean(line), surrogate.mean(line))
    torch.testing.assert_close(same.covariance(line), surrogate.covariance(line))


def test_the_standard_error_is_that_of_posterior_draws() -> None:
    surrogate = fitted(64, 0.3)
    pair = torch.tensor([0.4, 1.0], dtype=torch.float64)
    draws = surrogate.draws(pair, 40_000, generator=torch.Generator().manual_seed(0))
    expected = contrast_stderr(surrogate, 0.4, 1.0)
    # Draws also vary between members' means, which no number of images is responsible for.
    spread = (draws[:, 0] - draws[:, 1]).std().item()
    assert expected <= spread * 1.02
    assert expected == pytest.approx(spread, rel=0.15)


def test_the_forecast_is_what_a_study_with_these_images_finds() -> None:
    forecast = [contrast_stderr(with_images(fitted(32, 0.3, s), 4.0), 0.4, 1.0) for s in range(12)]
    found = [contrast_stderr(fitted(128, 0.3, 100 + s), 0.4, 1.0) for s in range(12)]
    assert np.mean(forecast) == pytest.approx(np.mean(found), rel=0.15)


def test_four_times_the_images_halve_it_where_images_are_all_that_is_open() -> None:
    """Evaluations at the two λs themselves know the difference as well as their images do."""
    lams = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    values = torch.tensor([0.0, 0.8, 1.0], dtype=torch.float64)
    small = torch.full_like(lams, 1e-4)  # far less than the curve varies
    surrogate = fit_surrogate(Observations.independent(lams, values, small))
    factor = factor_to_halve(surrogate, 0.0, 1.0)
    assert factor is not None
    assert contrast_stderr(surrogate, 0.0, 1.0) == pytest.approx(math.sqrt(2e-4), rel=0.01)
    assert factor == pytest.approx(4.0, rel=0.02)
    halved = contrast_stderr(with_images(surrogate, factor), 0.0, 1.0)
    assert halved == pytest.approx(contrast_stderr(surrogate, 0.0, 1.0) / 2, rel=1e-4)


def test_no_number_of_images_tells_what_is_between_the_evaluated_lams() -> None:
    lams = torch.tensor([0.0, 1.0], dtype=torch.float64)
    values = torch.tensor([0.0, 1.0], dtype=torch.float64)
    surrogate = fit_surrogate(Observations.independent(lams, values, torch.full_like(lams, 1e-9)))
    assert factor_to_halve(surrogate, 0.5, 1.0) is None


def test_images_hours_and_prices_follow_from_the_study() -> None:
    rows = dict(zip(LAMS.round(3).tolist(), scores(64, 0.3), strict=True))
    summary = lamsearch.search(
        lambda lam: rows[min(rows, key=lambda known: abs(known - lam))], budget=6
    )
    summary = dataclasses.replace(summary, seconds=6 * 64 * 3.0)
    anew = find_more_images(summary, CostsConfig(price=2.0), continues=False)
    on = find_more_images(summary, CostsConfig(price=2.0), continues=True)
    for more, times in ((anew, 1), (on, 0)):
        assert more is not None
        assert more.factor is not None
        assert more.images is not None
        assert more.hours is not None
        assert more.images == math.ceil((more.factor - 1 + times) * 6 * 64)
        assert more.images_per_lam == math.ceil(more.factor * 64)
        assert more.hours == pytest.approx(more.images * 3.0 / 3600)
        assert more.price == pytest.approx(2 * more.hours)
    assert anew is not None
    assert anew.versus == (0.0 if summary.lam == 1 else 1.0)


def test_plain_numbers_have_no_images_to_add() -> None:
    summary = lamsearch.search(lambda lam: -((lam - 0.4) ** 2), budget=4)
    assert find_more_images(summary, CostsConfig(), continues=False) is None
