"""Options of a vote: who votes, and where the page is served."""

from __future__ import annotations

import getpass

from pydantic import field_validator

from lamsearch.config.fields import Config, option
from lamsearch.study.votes import LONGEST_NAME

_EXPECTED_NAME = f"1 to {LONGEST_NAME} printable characters"


class VoteConfig(Config):
    """Options of a vote.

    Raises:
        SettingsError: If an option is out of its range.
    """

    rater: str | None = option(
        None,
        "Name that is stored with the votes, by default that of the account; the page can change "
        "it.",
        group="voting",
        metavar="NAME",
        expected=_EXPECTED_NAME,
    )
    port: int = option(
        0,
        "Port of the page on this machine, 0 for a free one.",
        group="voting",
        metavar="N",
        ge=0,
        le=65535,
        expected="0 to 65535",
    )

    @field_validator("rater")
    @classmethod
    def _require_name(cls, name: str | None) -> str | None:
        return None if name is None else rater_name(name)

    @property
    def rater_name(self) -> str:
        """The name to begin with."""
        return self.rater or account_name()


def rater_name(given: object) -> str:
    """Return a rater's name without spaces about it.

    Raises:
        ValueError: If it is no text of 1 to `LONGEST_NAME` printable characters.
    """
    name = given.strip() if isinstance(given, str) else ""
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
        raise ValueError(f"rater {given!r:.40} given, expected {_EXPECTED_NAME}")
    return name


def account_name() -> str:
    """Return the name of the account, "anonymous" where it has none that can be used."""
    try:
        return rater_name(getpass.getuser())
    except (KeyError, OSError, ValueError):  # an account that the system does not know
        return "anonymous"
