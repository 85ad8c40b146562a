"""View model → one self-contained page: templates, style and script are files of this package.

Names, prompts and messages of a study are escaped by jinja2. The page's policy lets nothing be
loaded, and no script run but its own, which it names by its digest.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPT, STYLE, PART_STYLE = "report.js", "style.css", "notebook.css"


def render(template: str, **names: Any) -> str:
    """Return a page.

    Args:
        template: Name of one of the package's templates.
        **names: What it shows.
    """
    script = _text(SCRIPT)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page: str = (
        _environment()
        .get_template(template)
        .render(script=script, style=_text(STYLE), digest=digest, **names)
    )
    return page


def render_part(template: str, **names: Any) -> str:
    """Return a part of another page, with a style of its own and without a script.

    Args:
        template: Name of one of the package's templates.
        **names: What it shows.
    """
    part: str = _environment().get_template(template).render(style=_text(PART_STYLE), **names)
    return part


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("lamsearch.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _text(name: str) -> str:
    return (files("lamsearch.report.html") / "templates" / name).read_text(encoding="utf-8")
