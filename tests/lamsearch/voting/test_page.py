"""The voting page in a real browser: keys, hostile prompts, accessibility."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from lamsearch.study.database import Study

from .voted_study import HOSTILE, make_study, serving

pytestmark = pytest.mark.slow

READY = ".side[aria-disabled=false]"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path)


def press(page: Any, key: str) -> None:
    page.wait_for_selector(READY)
    with page.expect_response("**/next?*"):
        page.keyboard.press(key)
    page.wait_for_selector(READY)


def test_a_person_votes_by_keyboard(study: Study, browser: Any) -> None:
    with serving(study) as server:
        page, problems = browser.new_page(), []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server.url)
        for key in "120":
            press(page, key)
        assert [vote.choice for vote in study.votes()] == ["left", "right", "tie"]
        assert page.inner_text("#status") == "3 votes stored"

        # Keys in the name are letters, and the next votes have the new name.
        page.fill("#rater", "Bob ")
        page.focus("#rater")
        page.keyboard.press("1")
        page.keyboard.press("Tab")
        press(page, "2")
        assert [vote.rater for vote in study.votes()] == ["Ada", "Ada", "Ada", "Bob 1"]
        assert "(4 of all raters)" in page.inner_text("#status")

        page.click("#done")
        page.wait_for_selector("text=The vote has ended")
        assert "people's λ*" in page.inner_text("#people")
        assert "pickscore's λ*" in page.inner_text("#reward")
        assert problems == []


def test_a_hostile_prompt_stays_text(study: Study, browser: Any) -> None:
    with serving(study) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector(READY)
        while page.inner_text("#prompt") != f"Prompt: {HOSTILE}":
            press(page, "0")
        page.wait_for_timeout(200)
        assert page.title() == "Which image is better?"
        assert page.locator("#prompt *").count() == 0


def test_a_failed_vote_is_said_and_can_be_repeated(study: Study, browser: Any) -> None:
    with serving(study) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector(READY)
        page.fill("#rater", " ")
        page.click("[data-choice=left]")
        page.wait_for_selector("text=1 to 80 printable characters")
        assert study.votes() == []
        page.fill("#rater", "Ada")
        page.click("[data-choice=left]")
        page.wait_for_selector("text=1 vote stored")
        assert page.inner_text("#error") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_axe_finds_nothing(study: Study, browser: Any, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    with serving(study) as server:
        page = browser.new_page(
            color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
        )
        page.goto(server.url)
        press(page, "1")
        page.click("#show")
        page.wait_for_selector("#answer:not([hidden])")
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
