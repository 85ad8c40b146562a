"""Text from outside → text that is safe to print: one line, and only characters that are seen.

Names, prompts, settings and the messages of other people's code may hold escape sequences, which
move the cursor, recolour or retitle a terminal, and marks that reorder what is read. Every output
passes through here; data, such as JSON, stays as it is.
"""

from __future__ import annotations

import reprlib
import unicodedata

LONGEST_VALUE = 80
"""Characters of a value that a message quotes."""

LONGEST_PATH = 300
"""Characters of a path that a message quotes."""

LONGEST_MESSAGE = 2000
"""Characters of a message."""

_SPACES = "\t\n\r\v\f"
_JOINERS = "\u200c\u200d"
"""Invisible, but part of words in Persian and in Indian scripts, and of emoji."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = LONGEST_VALUE


def plain(text: object) -> str:
    r"""Return a text as one line without control characters; `\x1b` is shown for an escape.

    Control characters (C0, C1), marks of direction and other invisible characters, and halves of
    surrogate pairs are written as escapes; tabs and ends of lines become spaces.
    """
    given = str(text)
    if given.isascii() and given.isprintable():
        return given
    return "".join(map(_visible, given))


def shortened(text: object, limit: int = LONGEST_VALUE) -> str:
    """Return a text as `plain` does, its middle left out where it is longer than `limit`."""
    given = str(text)
    if len(given) > 2 * limit:  # no need to look at all of a very long one
        given = given[:limit] + given[-limit:]
        return _cut(plain(given), limit)
    line = plain(given)
    return line if len(line) <= limit else _cut(line, limit)


def shown(value: object, limit: int = LONGEST_VALUE) -> str:
    """Return any value as a message quotes it: its `repr`, shortened.

    A value whose `repr` fails is named by its type.
    """
    try:
        text = repr(value) if isinstance(value, str | bytes) else _REPR.repr(value)
    except Exception:  # whatever somebody's own __repr__ raises, and numbers of too many digits
        text = f"<{type(value).__name__}>"
    return shortened(text, limit)


def without_math(text: object) -> str:
    """Return a text as `plain` does, for matplotlib, which reads what is between $ as a formula."""
    return plain(text).replace("$", r"\$")


def _visible(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS:
        return letter
    if letter in _SPACES or unicodedata.category(letter) == "Zs":
        return " "
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _cut(line: str, limit: int) -> str:
    start = (limit - 1) * 2 // 3
    end = limit - 1 - start
    return f"{line[:start]}…{line[len(line) - end :]}"
