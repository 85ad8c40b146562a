"""The directive `json-fields`: tables of a dataclass and of all that it contains.

    ```{json-fields} lamsearch.report.summary:Summary
    ```

also writes the JSON Schema to `_generated/NAME.schema.json`, for the page to offer as a download.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from json_schema import entries, records, schema, type_text
from option_tables import load, prose, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class JsonFields(SphinxDirective):
    """A section per dataclass with a table of its fields."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        text = "\n".join(_sections(load(self.arguments[0])))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _sections(record: type) -> Iterator[str]:
    for each in records(record):
        yield f"## {each.__name__}\n"
        rows = [
            (f"`{e.name}`", type_text(e.annotation), _in_json(e.sentence)) for e in entries(each)
        ]
        yield table(("field", "type", "meaning"), (24, 26, 50), rows)


def _in_json(sentence: str) -> str:
    """Return a sentence of a docstring in the words of JSON."""
    return re.sub(r"\bNone\b", "`null`", prose(sentence))


def write_schema(app: Sphinx) -> None:
    """Write the schema of the command line's JSON object."""
    target = Path(app.srcdir) / "_generated" / "summary.schema.json"
    target.parent.mkdir(exist_ok=True)
    text = json.dumps(
        schema(load("lamsearch.report.summary:Summary")), indent=2, ensure_ascii=False
    )
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and write the schema before any page is read."""
    app.add_directive("json-fields", JsonFields)
    app.connect("builder-inited", write_schema)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
