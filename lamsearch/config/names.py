"""Names of studies, anchors and rewards, which become parts of the names of files."""

from __future__ import annotations

from lamsearch.plain_text import shown

LONGEST_NAME_BYTES = 200
"""Of an anchor's or a reward's name in UTF-8: files are called after them, with endings."""

LONGEST_STUDY_BYTES = 255
"""Of a study's name in UTF-8, as of a file's."""

_SEPARATORS = "/\\"


def name_problem(name: str, longest: int = LONGEST_NAME_BYTES) -> str | None:
    """Return what is wrong with a name as `what was given, what was expected`, None if nothing is.

    Args:
        name: Any text.
        longest: Bytes that it may have in UTF-8.
    """
    expected = "expected letters, digits and marks such as - _ + ."
    if not name.strip() or name in (".", ".."):
        return f"{shown(name)} given, {expected}"
    if any(separator in name for separator in _SEPARATORS):
        return f"{shown(name)} given, expected no / and no \\ in it"
    if not name.isprintable():
        return f"{shown(name)} given, with a character that cannot be printed: {expected}"
    size = len(name.encode())
    if size > longest:
        return f"{shown(name)} given, of {size} bytes, expected at most {longest}"
    return None
