"""A real headless browser for tests of pages: the system's own, nothing is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """Return the path of the system's browser, None without one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1100, **options: Any) -> Iterator[Page]:
    """Open a page; anything that it says on the console, or asks of the network, fails."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(10_000)
    page = context.new_page()
    problems: list[str] = []

    def noticed(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            problems.append(request.url)

    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", noticed)
    page.goto(file.as_uri())
    yield page
    context.close()
    assert not problems


def check_page(browser: Browser, file: Path, width: int, scheme: Any) -> None:
    """Check that a page does not scroll sideways, and that axe-core finds nothing."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # The page's own policy would keep axe-core out.
    with opened(browser, file, width, color_scheme=scheme, bypass_csp=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page)
        assert len(found.response["passes"]) > 20
        assert not found.response["violations"], found.generate_report()
