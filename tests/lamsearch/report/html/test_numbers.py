from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamsearch.report.html.numbers import (
    decimals,
    duration,
    interval,
    number,
    tick_labels,
    ticks,
)


@pytest.mark.parametrize(
    ("width", "places"), [(0.0595, 4), (1.0, 2), (25.0, 1), (4000.0, 0), (0.0, 3), (1e-30, 10)]
)
def test_decimals_show_three_digits_of_a_width(width: float, places: int) -> None:
    assert decimals(width) == places


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert number(-0.5, 2) == "−0.50"
    assert number(-0.0001, 2) == "0.00"
    assert number(0.25, 1, signed=True) == "+0.2"
    assert interval((-0.1, 0.2), 1, signed=True) == "−0.1 to +0.2"


@given(
    st.floats(-1e6, 1e6, allow_nan=False), st.floats(1e-6, 1e6, allow_nan=False), st.integers(2, 12)
)
def test_ticks_are_inside_and_about_as_many_as_wanted(low: float, width: float, count: int) -> None:
    high = low + width
    found = ticks(low, high, count)
    slack = 1e-9 * max(abs(low), abs(high), 1.0)
    assert all(low - slack <= tick <= high + slack for tick in found)
    assert len(found) <= count + 1
    assert len(found) >= count // 3


def test_tick_labels_share_their_decimals() -> None:
    assert tick_labels(ticks(0.0, 1.0, 10))[:3] == ["0.0", "0.1", "0.2"]
    assert tick_labels(ticks(0.0, 1000.0, 5)) == ["0", "200", "400", "600", "800", "1000"]


def test_durations_have_the_unit_that_suits_them() -> None:
    assert duration(76.2) == "76 seconds"
    assert duration(600) == "10.0 minutes"
    assert duration(36_000) == "10.0 hours"
