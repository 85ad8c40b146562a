from __future__ import annotations

import itertools

import pytest

import lamsearch
from lamsearch.report.html.curves import curve_plot
from lamsearch.report.html.plots import LAYOUTS, NARROW, WIDE, Layout, Scale, area, line, log_ticks


@pytest.fixture(scope="module")
def summary() -> lamsearch.Summary:
    return lamsearch.search(lambda lam: 0.2 - (lam - 0.6) ** 2, beta=500, budget=5)


def test_a_scale_maps_its_ends_and_its_middle() -> None:
    assert [Scale(0, 2, 10, 30)(value) for value in (0, 1, 2)] == [10, 20, 30]
    assert [Scale(1, 100, 0, 10, is_log=True)(value) for value in (1, 10, 100)] == [0, 5, 10]


def test_paths_go_through_their_points() -> None:
    assert line([0, 1], [2, 3]) == "M0,2L1,3"
    assert area([0, 1], [0, 0], [2, 3]) == "M0,2L1,3L1,0L0,0Z"


def test_log_ticks_are_round_and_inside() -> None:
    assert log_ticks(250, 10_000) == [500, 1000, 2000, 5000, 10_000]
    assert log_ticks(300, 400) == [300]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.size)
def test_everything_drawn_is_inside_the_panel(summary: lamsearch.Summary, layout: Layout) -> None:
    plot = curve_plot(summary, layout)
    panel = plot.panels[0]
    left, right, top, bottom = panel.x.start, panel.x.stop, panel.y.stop, panel.y.start
    assert 0 < left < right < plot.width
    assert 0 < top < bottom < plot.height
    for point in panel.points:
        assert left <= point.x <= right
        assert top <= point.y <= bottom
    numbers = [pair.split(",") for pair in panel.shapes[0].path.strip("MZ").split("L")]
    assert all(left <= float(x) <= right and top <= float(y) <= bottom for x, y in numbers)


def test_evaluations_and_answer_are_where_their_lam_is(summary: lamsearch.Summary) -> None:
    panel = curve_plot(summary, WIDE).panels[0]
    assert sorted(point.x for point in panel.points) == sorted(
        panel.x(evaluation.lam) for evaluation in summary.evaluations
    )
    assert [rule.at for rule in panel.rules] == [panel.x(summary.lam)]
    low, high = summary.lam_interval
    (span,) = panel.spans
    assert (span.start, span.start + span.width) == pytest.approx((panel.x(low), panel.x(high)))


def test_the_axis_above_is_beta_over_lam(summary: lamsearch.Summary) -> None:
    above = curve_plot(summary, WIDE).panels[0].top_ticks
    assert above[0].label == "∞"
    assert above[-1].label == "500"
    assert all(a.at < b.at for a, b in itertools.pairwise(above))
    assert len(curve_plot(summary, NARROW).panels[0].top_ticks) < len(above)


def test_without_beta_there_is_no_axis_above() -> None:
    plain = lamsearch.search(lambda lam: lam, budget=2)
    plot = curve_plot(plain, WIDE)
    assert plot.top_label == ""
    assert plot.panels[0].top_ticks == ()


def test_guards_are_below_and_only_the_last_panel_names_lam() -> None:
    tracked = lamsearch.search(lambda lam: {"score": lam, "clip": 1 - lam, "hps": lam}, budget=3)
    panels = curve_plot(tracked, WIDE).panels
    assert [panel.label for panel in panels] == ["mean score", "mean clip", "mean hps"]
    assert all(a.y.start < b.y.stop for a, b in itertools.pairwise(panels))
    assert [panel.show_x for panel in panels] == [False, False, True]
