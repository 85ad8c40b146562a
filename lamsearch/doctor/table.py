"""A diagnosis → what the terminal shows: one line per check, what is wrong in red."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from lamsearch.doctor.check import Diagnosis
from lamsearch.report.terminal import line

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


def diagnosis_table(found: Diagnosis) -> RenderableType:
    """Return the checks as rows: state, name, and the sentence in full."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found.checks:
        style = _STYLES[check.state]
        text_style = "" if check.state == "ok" else style
        table.add_row(
            line(check.state, style=style), line(check.name), line(check.text, style=text_style)
        )
    return table
