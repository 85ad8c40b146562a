"""URLs of study databases: checked, completed, and shown without their passwords."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import URL

from lamsearch.errors import StudyError
from lamsearch.plain_text import plain, shortened

_EXAMPLES = "sqlite:///studies.db, or postgresql://USER@HOST/DATABASE"
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
"""The driver that is meant where a URL names none."""

_IN_MEMORY = ("sqlite://", "sqlite:///:memory:")
_SECRET = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)
_HIDDEN = "***"
_LONGEST = 4000


def is_in_memory(url: str | None) -> bool:
    """Return whether a storage is lost with its process."""
    return url is None or url in _IN_MEMORY


def parse_url(url: str) -> URL:
    """Return a storage's URL with its driver.

    Raises:
        StudyError: If it is not the URL of a database.
    """
    if len(url) > _LONGEST or not url.isprintable():
        given = shortened(redacted_url(plain(url[:_LONGEST])))
        raise StudyError(
            f"storage {given} given, expected a URL of at most {_LONGEST} characters that can be "
            f"printed, such as {_EXAMPLES}"
        )
    shown = redacted_url(url)
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise StudyError(f"storage {shown} given, expected a URL such as {_EXAMPLES}") from None
    if parsed.get_backend_name() == "sqlite":
        return _checked_sqlite(parsed, shown)
    if _at_signs(url) > 1:
        raise StudyError(
            f"storage {shown} given with more than one @ before the database: write an @ of the "
            "user's name or password as %40"
        )
    driver = _DRIVERS.get(parsed.drivername)
    return parsed if driver is None else parsed.set(drivername=driver)


def redacted_url(url: str | None) -> str | None:
    """Return a storage's URL without passwords, fit for messages."""
    if url is None:
        return None
    scheme, separator, rest = url.partition("://")
    if not separator:  # a forgotten scheme may leave a password before the @
        return f"…@{url.rpartition('@')[2]}" if "@" in url else url
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return f"{scheme}://…" if "@" in rest or _SECRET.search(rest) else url
    if _at_signs(url) > 1:
        return f"{scheme}://…"
    query = {key: _HIDDEN if _SECRET.search(key) else value for key, value in parsed.query.items()}
    return parsed.set(query=query).render_as_string(hide_password=True)


def database_file(url: str | None) -> Path | None:
    """Return the file of an SQLite storage; None for any other, a `file:` URI, and no URL."""
    if url is None or not url.startswith("sqlite"):
        return None
    try:
        database = sqlalchemy.make_url(url).database or ":memory:"
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None
    return None if database.startswith((":memory:", "file:")) else Path(database)


def _checked_sqlite(parsed: URL, shown: str | None) -> URL:
    database = parsed.database
    if parsed.host or not database:
        raise StudyError(
            f"storage {shown} names no file: expected sqlite:///FILE, or sqlite:////FOLDER/FILE "
            "for a path that starts at the root"
        )
    if database.startswith("~"):
        absolute = Path(database).expanduser()
        raise StudyError(
            f"storage {shown} given, and ~ means nothing in a URL: expected sqlite:///{absolute}"
        )
    return parsed


def _at_signs(url: str) -> int:
    """Return the number of @ before the first / of the place: more than one is ambiguous."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].count("@")
