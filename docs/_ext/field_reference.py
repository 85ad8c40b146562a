"""The directive `fields`: a table of a pydantic model's fields, so that no page repeats them.

With `:own:` it leaves out the fields that the model inherits; `:heading:` says what a field is
called, by default "key". Where that is "keyword", flags in the sentences become Python's keywords.
Its argument names the model, such as `lamsearch.config.file_format:SamplingSettings`.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from option_tables import describe_default, describe_type, load, prose, table
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import OptionSpec


class Fields(SphinxDirective):
    """A table with one row per field: name, what it takes, default, meaning."""

    required_arguments = 1
    option_spec: ClassVar[OptionSpec] = {
        "own": directives.flag,
        "heading": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        model: type[BaseModel] = load(self.arguments[0])
        self.env.note_dependency(inspect.getfile(model))
        heading = self.options.get("heading", "key")
        sentence = _in_python if heading == "keyword" else str
        rows = [
            (
                f"`{field.alias or name}`",
                describe_type(field),
                describe_default(field),
                prose(sentence(field.description or "")),
            )
            for name, field in model.model_fields.items()
            if "own" not in self.options or not _inherits(model, name)
        ]
        text = table(
            (heading, "value", "default", "meaning"),
            (18, 20, 14, 48),
            rows,
        )
        return self.parse_text_to_nodes(text)


def _in_python(sentence: str) -> str:
    """Return a sentence with keywords in the place of flags: `images="auto"` for --images auto."""
    for flag, value in re.findall(r"--([a-z][a-z-]*)( auto\b)?", sentence):
        keyword = flag.replace("-", "_") + ('="auto"' if value else "")
        sentence = sentence.replace(f"--{flag}{value}", f"`{keyword}`")
    return sentence


def _inherits(model: type[BaseModel], name: str) -> bool:
    return any(name in getattr(base, "model_fields", {}) for base in model.__bases__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("fields", Fields)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
