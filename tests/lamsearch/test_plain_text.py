"""Text from outside, as messages and tables show it."""

from __future__ import annotations

import math
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamsearch.plain_text import plain, shortened, shown, without_math

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\u202egpj.exe\u2066\udc80\ud83d\r\nb\0\U000e0041[red]"


class Mute:
    def __repr__(self) -> str:
        raise ValueError("no repr")


@given(st.text(st.characters()))
def test_what_is_shown_is_one_line_that_any_terminal_can_print(text: str) -> None:
    line = plain(text)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in line)
    line.encode()
    assert plain(line) == line
    if text.isprintable():
        assert line == text


def test_control_characters_and_marks_of_direction_are_shown_as_what_they_are() -> None:
    assert plain("\x1b[2J\x9b\x07\x00") == r"\x1b[2J\x9b\x07\x00"
    assert plain("\u202egpj.exe\udc80") == r"\u202egpj.exe\udc80"
    assert plain("two\nlines\tand a tab") == "two lines and a tab"
    for word in ("λ* ≥ 0.5", "日本語", "می\u200cخواهم", "👩\u200d🚀", "naïve [red]"):
        assert plain(word) == word


def test_long_values_lose_their_middle() -> None:
    assert shortened("a" * 10, 10) == "a" * 10
    for text in ("start" + "x" * 10_000_000 + "end", "start" + "\x1b" * 200 + "end"):
        line = shortened(text, 40)
        assert len(line) == 40
        assert line.startswith("start")
        assert line.endswith("end")
        assert "…" in line


@pytest.mark.parametrize(
    "value",
    [Mute(), [Mute()], 10**5000, [[[[[[[[[]]]]]]]]], {"a": "x" * 9999}, HOSTILE, b"\x1b", math.nan],
    ids=range(8),
)
def test_any_value_can_be_quoted(value: object) -> None:
    text = shown(value)
    assert 0 < len(text) <= 80
    assert text.isprintable()


def test_nested_deeper_than_the_stack() -> None:
    nested: list[object] = []
    for _ in range(10 * sys.getrecursionlimit()):
        nested = [nested]
    assert "..." in shown(nested)


def test_matplotlib_reads_no_formula() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.supxlabel(without_math(r"$\frac{$ and \$ and $x$" + HOSTILE.replace("\udc80", "")))
    figure.canvas.draw()
