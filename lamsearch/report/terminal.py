"""What is printed on a terminal: names and numbers as they are, and nothing of a table cut off."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.text import Text

from lamsearch.plain_text import plain

_WIDEST = 2000
"""Columns of the widest table."""


def line(text: object, style: str = "") -> Text:
    """Return a text from outside as one line: no markup, no control characters."""
    return Text(plain(text), style=style)


def message_console() -> Console:
    """Return the console of messages and progress, on standard error."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def drawn(table: RenderableType) -> str:
    """Return a table as it is printed on standard output.

    Where the terminal is narrower than the table's words and numbers, lines are longer than it:
    cells that are cut off would be worth less than lines that it wraps.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    free = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, Measurement.get(console, free, table).minimum)
    with console.capture() as capture:
        console.print(_Plain(table))
    return capture.get()


class _Plain:
    """What a renderable prints, whatever it was made from: a last guard of the terminal."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._renderable, options):
            parts = segment.text.split("\n")
            text = "\n".join(map(plain, parts))
            yield segment if segment.control else Segment(text, segment.style)
