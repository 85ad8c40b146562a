"""Draw the figures of `docs/_figures` when a build begins, into `docs/_generated`.

Each script there has a `main(output: Path)`; it is run again only when it, or the data it names in
`SOURCES`, is newer than its figure.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def draw_figures(app: Sphinx) -> None:
    """Run every script whose figure is missing or older than what it is made of."""
    target = Path(app.srcdir) / "_generated"
    target.mkdir(exist_ok=True)
    for script in sorted((Path(app.srcdir) / "_figures").glob("*.py")):
        output = target / f"{script.stem}.svg"
        module = _load(script)
        newest = max(path.stat().st_mtime for path in (script, *module.SOURCES))
        if not output.exists() or output.stat().st_mtime < newest:
            logger.info("drawing %s", output.name)
            module.main(output)


def _load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_figure_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def setup(app: Sphinx) -> dict[str, Any]:
    """Draw before any page is read."""
    app.connect("builder-inited", draw_figures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
