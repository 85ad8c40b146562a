"""The page of an agreement: its data, and how it is in a real browser."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lamsearch
from browsers import check_page, opened
from lamsearch.agreement.page_view import agreement_view, difference_matrix
from lamsearch.agreement.results import FamilyAgreement
from lamsearch.cli import main

from .family import BETAS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(family: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FamilyAgreement, Path]:
    """An agreement and its page."""
    folder = tmp_path_factory.mktemp("agreement")
    storage = f"sqlite:///{folder}/studies.db"
    agreement = lamsearch.agree(
        list(BETAS),
        ["pickscore", "clip"],
        images=4,
        config=family / "lamsearch.toml",
        storage=storage,
    )
    page = folder / "report.html"
    assert main(["report", agreement.study, "--storage", storage, "-o", str(page)]) == 0
    return agreement, page


def test_the_page_has_every_reward_and_its_honest_sentence(
    found: tuple[FamilyAgreement, Path], browser: Browser
) -> None:
    agreement, file = found
    with opened(browser, file) as page:
        text = page.locator("main").inner_text().replace("\u00a0", " ")
        for reward in agreement.rewards:
            assert f"{reward.sentence}." in text
        assert page.locator("section.reward").count() == 2
        plots = page.locator("section.reward").first.locator("svg.plot")
        assert plots.count() == len(BETAS) + 1  # one per anchor, and Bland–Altman
        points = plots.first.locator(".point")
        assert points.count() == len(BETAS) + len(BETAS) - 1
        words = ["--anchor b250", "--anchor b500", "--anchor b1000", "--reward pickscore,clip"]
        command = page.locator("#reproduce ~ pre").inner_text()
        assert all(part in command for part in (*words, "--images 4"))


def test_the_matrix_has_the_differences_of_all_pairs(
    found: tuple[FamilyAgreement, Path],
) -> None:
    reward = found[0].rewards[0]
    table = difference_matrix(reward)
    shares = sorted(cell.key for row in table.rows for cell in row[1:] if cell.key is not None)
    expected = [100 * e.difference / reward.curve_range for e in reward.emulations]
    assert shares == sorted(expected)
    shades = [cell.kind for row in table.rows for cell in row[1:] if cell.kind]
    assert any(shade.endswith("3") for shade in shades)
    assert [row[0].text for row in table.rows] == ["1000", "500", "250"]


def test_points_of_bland_altman_are_inside(found: tuple[FamilyAgreement, Path]) -> None:
    view = agreement_view(found[0], manifest={}, command=[], version="1")
    for reward in view.rewards:
        for plot in (reward.bland_altman, *reward.lines):
            (panel,) = plot.panels
            for point in panel.points:
                assert panel.x.start <= point.x <= panel.x.stop
                assert panel.y.stop <= point.y <= panel.y.start


def test_hostile_names_stay_text(
    found: tuple[FamilyAgreement, Path], browser: Browser, tmp_path: Path
) -> None:
    from lamsearch.report.html.page import render

    hostile = "<img src=x onerror='window.hacked = 1'>"
    agreement = dataclasses.replace(
        found[0],
        study=hostile,
        rewards=tuple(dataclasses.replace(r, reward=hostile) for r in found[0].rewards),
    )
    view = agreement_view(agreement, manifest={hostile: hostile}, command=[hostile], version="1")
    file = tmp_path / "hostile.html"
    file.write_text(render("agreement.html.j2", view=view, version="1"), encoding="utf-8")
    with opened(browser, file) as page:
        assert page.locator("img").count() == 0
        assert page.locator("h1").inner_text() == hostile
        assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_scrolls_sideways_and_axe_finds_nothing(
    browser: Browser, found: tuple[FamilyAgreement, Path], width: int, scheme: Any
) -> None:
    check_page(browser, found[1], width, scheme)


def test_costs_belong_to_the_page_of_a_search(
    found: tuple[FamilyAgreement, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    agreement, file = found
    storage = f"sqlite:///{file.parent}/studies.db"
    options = ["--storage", storage, "-o", str(file.with_name("costs.html")), "--price", "2.5"]
    assert main(["report", agreement.study, *options]) == 2
    assert "is an agreement: costs belong" in capsys.readouterr().err
