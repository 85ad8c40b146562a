"""The directive `pipelines`: the families that the tests run, and how each is exact."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from option_tables import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_TESTS = Path(__file__).parents[2] / "tests"


class Pipelines(SphinxDirective):
    """A table with one row per family of `tests/tiny_pipelines`."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        headings = ("pipeline", "diffusers class", "denoisers", "0 < λ < 1")
        return self.parse_text_to_nodes(table(headings, (30, 28, 14, 28), _rows()))


def _rows() -> Iterator[tuple[str, str, str, str]]:
    if str(_TESTS) not in sys.path:
        sys.path.append(str(_TESTS))
    from tiny_pipelines.families import FAMILIES

    for family in FAMILIES:
        reason = f": {family.refused}" if family.refused else ""
        yield (
            family.name,
            f"`{type(family.build(0)).__name__}`",
            ", ".join(f"`{name}`" for name in family.denoisers),
            f"{family.exactness}{reason}",
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("pipelines", Pipelines)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
