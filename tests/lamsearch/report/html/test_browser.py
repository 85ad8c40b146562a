"""The page in a real browser, from a file: slider, wipe, table, accessibility, hostile texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browsers import check_page, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


@pytest.fixture
def page(browser: Browser, page_file: Path) -> Iterator[Page]:
    with opened(browser, page_file) as page:
        yield page


def wiped(page: Page) -> float:
    return float(page.evaluate("parseFloat(gallery.style.getPropertyValue('--wipe'))"))


def lams(page: Page) -> list[float]:
    frames = page.evaluate("JSON.parse(document.getElementById('data').textContent).frames")
    return [frame["lam"] for frame in frames]


def shown(page: Page, side: str = "after") -> str:
    """The λ that the first image's tag names."""
    return page.locator(f"#gallery .{side} .tag").first.inner_text()


def source(page: Page, side: str = "after") -> str | None:
    return page.locator(f"#gallery .{side} img").first.get_attribute("src")


def test_arrow_keys_move_the_slider_from_evaluation_to_evaluation(page: Page) -> None:
    slider = page.locator("#lam")
    slider.focus()
    page.keyboard.press("Home")
    seen = [float(slider.input_value())]
    sources = [source(page)]
    for _ in lams(page)[1:]:
        page.keyboard.press("ArrowRight")
        seen.append(float(slider.input_value()))
        sources.append(source(page))
        assert "mean" in str(slider.get_attribute("aria-valuetext"))
    assert seen == pytest.approx(lams(page))
    assert len(set(sources)) == len(sources)
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(lams(page)[-1])


def test_dragging_the_slider_shows_the_nearest_evaluation(page: Page) -> None:
    slider = page.locator("#lam")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, middle, steps=5)
    page.mouse.up()
    assert float(slider.input_value()) == pytest.approx(lams(page)[-1])
    assert shown(page) == "λ = 1"


def test_dragging_the_curve_moves_the_slider(page: Page) -> None:
    plot = page.locator("#plot svg.wide")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.06 * box["width"], box["y"] + 100, steps=4)
    page.mouse.up()
    assert shown(page) == "λ = 0"
    cursor = plot.locator(".cursor")
    assert cursor.get_attribute("x1") == plot.get_attribute("data-start")


def test_reference_answer_and_aligned_are_one_click_away(page: Page) -> None:
    buttons = page.locator(".jumps button")
    assert buttons.count() == 3
    for index, label in ((0, "λ = 0"), (2, "λ = 1")):
        buttons.nth(index).click()
        assert shown(page) == label
        assert buttons.nth(index).get_attribute("aria-pressed") == "true"
        assert buttons.nth(1).get_attribute("aria-pressed") == "false"


def test_captions_follow_the_slider(page: Page) -> None:
    caption = page.locator("#gallery .score").first
    page.locator(".jumps button").nth(2).click()
    assert "against λ\u00a0=\u00a00" in caption.inner_text()
    page.locator(".jumps button").nth(0).click()
    assert "against" not in caption.inner_text()


def test_the_script_and_the_template_write_the_same_captions(
    page: Page, browser: Browser, page_file: Path
) -> None:
    plain = browser.new_context(java_script_enabled=False)
    static = plain.new_page()
    static.goto(page_file.as_uri())
    for selector in ("#gallery .score", "#gallery .tag"):
        before = static.locator(selector).all_inner_texts()
        assert before == page.locator(selector).all_inner_texts()
    plain.close()


def test_dragging_across_an_image_wipes_all_of_them(page: Page) -> None:
    page.locator(".jumps button").nth(2).click()
    pair = page.locator("#gallery .pair").nth(1)
    pair.scroll_into_view_if_needed()
    box = pair.bounding_box()
    assert box is not None
    middle = box["y"] + 0.75 * box["height"]
    page.mouse.move(box["x"] + 3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], middle, steps=4)
    page.mouse.up()
    assert wiped(page) == pytest.approx(50, abs=2)
    assert page.locator("#wipe").input_value() == str(round(wiped(page)))
    sides = page.locator("#gallery .before")
    assert all(
        "inset" in sides.nth(i).evaluate("e => getComputedStyle(e).clipPath") for i in (0, 2)
    )
    # The pixels themselves: λ = 0 has no red, λ = 1 has.
    first = page.locator("#gallery .pair").first
    assert red(first, 0.25) == 0
    assert red(first, 0.75) == 255


def red(pair: Any, across: float) -> int:
    """Return the red of the pixel at a share of an image's width, as it is on the screen."""
    import io

    from PIL import Image

    image = Image.open(io.BytesIO(pair.screenshot())).convert("RGB")
    pixel = image.getpixel((int(across * image.width), int(0.6 * image.height)))
    assert isinstance(pixel, tuple)
    return int(pixel[0])


def test_the_wipe_works_by_keyboard_with_any_two_lams(page: Page) -> None:
    page.locator("#before").select_option(index=len(lams(page)) - 1)
    assert wiped(page) == 50
    assert shown(page, "before") == "λ = 1"
    page.locator("#wipe").focus()
    page.keyboard.press("End")
    assert wiped(page) == 100


def test_the_table_is_sorted_by_any_column(page: Page) -> None:
    table = page.locator("table.sortable")
    headings = table.locator("thead th")
    for column in range(headings.count()):
        button = headings.nth(column).locator("button")
        for _ in range(2):
            button.focus()
            page.keyboard.press("Enter")
            order = headings.nth(column).get_attribute("aria-sort")
            keys = table.locator(f"tbody tr > :nth-child({column + 1})").evaluate_all(
                "cells => cells.map(cell => cell.dataset.key)"
            )
            numbers = [float(key) for key in keys if key]
            assert numbers == sorted(numbers, reverse=order == "descending")
            assert keys[: len(numbers)] == [key for key in keys if key]  # ∞ comes last
        assert sum(h.get_attribute("aria-sort") is not None for h in headings.all()) == 1


def test_hostile_texts_stay_texts(page: Page, page_file: Path) -> None:
    from lamsearch.report.html.page import SCRIPT

    assert page.evaluate("window.hacked") is None
    prompts = page.locator("#gallery .prompt").all_inner_texts()
    assert "<script>window.hacked = 1</script>" in prompts[1]
    assert prompts[2] == "{{ 7 * 7 }} & <b>bold</b>"
    assert page.title() == "an <em>odd<b> & name – lamsearch"
    assert page.locator("h1").inner_text() == "an <em>odd<b> & name"
    assert page.get_by_text("mean <i>guard</i>").count() > 0
    page.locator(".jumps button").nth(2).click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2, SCRIPT
    assert page.locator("b, em, i").count() == 0


def test_a_script_that_is_not_the_page_s_own_is_refused(browser: Browser, page_file: Path) -> None:
    """Were a text ever written without being escaped, the page's policy would still hold."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.hacked = 1';"
        " document.body.append(s); }"
    )
    assert page.evaluate("window.hacked") is None
    context.close()


@pytest.mark.parametrize("width", [360, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_scrolls_sideways_and_axe_finds_nothing(
    browser: Browser, page_file: Path, width: int, scheme: Any
) -> None:
    check_page(browser, page_file, width, scheme)


def test_print_shows_both_lams_beside_each_other_and_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible()
    before, after = (page.locator(f"#gallery .{s} img").first.bounding_box() for s in SIDES)
    assert before is not None
    assert after is not None
    assert before["x"] + before["width"] <= after["x"]
    assert len(page.pdf(format="A4")) > 10_000


SIDES = ("before", "after")
