from __future__ import annotations

import pytest

from lamsearch.errors import SettingsError
from lamsearch.report.costs import CostsConfig, GpuHours, parse_gpu_hours


@pytest.mark.parametrize(
    ("given", "hours"),
    [
        ("336 GPU-hours", 336),
        ("336", 336),
        ("1.5 gpu hours", 1.5),
        (" 90 minutes ", 1.5),
        ("14 GPU-days", 336),
        ("1 GPU-hour", 1),
        ("2d", 48),
        ("1e3h", 1000),
        (7, 7),
    ],
)
def test_times_are_read(given: object, hours: float) -> None:
    cost = CostsConfig(alignment_cost=given).alignment_cost
    assert cost is not None
    assert cost.hours == pytest.approx(hours)
    assert parse_gpu_hours(cost.text) == cost


@pytest.mark.parametrize(
    "given",
    ["", "x", "0", "-3", "nan", "inf", "1e999", "3 weeks", "336 dollars", "1 2", "1\n2", True],
)
def test_other_costs_are_one_line(given: object) -> None:
    with pytest.raises(
        SettingsError, match=r"alignment cost .* given, expected GPU-hours"
    ) as error:
        CostsConfig(alignment_cost=given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("price", [0, -1, float("nan"), float("inf"), "much"])
def test_prices_are_above_zero(price: object) -> None:
    with pytest.raises(SettingsError, match=r"price .* given, expected a number above 0"):
        CostsConfig(price=price)


def test_a_price_needs_both_figures() -> None:
    assert CostsConfig(price=2.5).price_of(336) == 840
    assert CostsConfig(price=2.5).price_of(None) is None
    assert CostsConfig().price_of(336) is None
    assert CostsConfig(alignment_cost=GpuHours(2)).alignment_cost == GpuHours(2)
