"""The directive `cited-equations`: which function computes which equation of the page.

The code names equations by their labels, in docstrings; this table is read from there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from docutils import nodes
from option_tables import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_LABEL = re.compile(r"\beq-[a-z-]+[a-z]")
_EXPLAINED = re.compile(r"Labels\s+like\s+eq-[a-z-]+")
"""How modules say what labels are; it cites nothing."""


class CitedEquations(SphinxDirective):
    """A table with one row per labelled equation of the page, in its order."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        page = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        places = _places(Path(str(files("lamsearch"))))
        rows = [
            (f"{{eq}}`{label}`", f"`{label}`", "; ".join(sorted(places[label])))
            for label in re.findall(r"^:label: (eq-[\w-]+)$", page, re.MULTILINE)
            if label in places
        ]
        return self.parse_text_to_nodes(table(("equation", "label", "code"), (12, 30, 58), rows))


def _places(package: Path) -> dict[str, set[str]]:
    """Return label → the files, classes and functions whose docstrings name it, as Markdown."""
    places: dict[str, set[str]] = {}
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for path, docstring in _docstrings(tree):
            where = f"`{name}`: `{path}`" if path else f"`{name}`"
            for label in _LABEL.findall(_EXPLAINED.sub("", docstring)):
                places.setdefault(label, set()).add(where)
    return places


def _docstrings(node: ast.AST, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the docstring of a module and of all that is defined in it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        yield path, ast.get_docstring(node) or ""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _docstrings(child, f"{path}.{child.name}".lstrip("."))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("cited-equations", CitedEquations)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
