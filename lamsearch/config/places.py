"""Where settings and studies are: the arguments that `run`, `search` and `agree` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from lamsearch.config.fields import Config, option
from lamsearch.config.names import LONGEST_STUDY_BYTES, name_problem
from lamsearch.errors import SettingsError
from lamsearch.plain_text import shown


def checked_study(name: Any) -> str | None:
    """Return the name of a study to work on.

    Raises:
        SettingsError: If it is no text, or could not be the name of a folder.
    """
    if name is None:
        return None
    given = isinstance(name, str)
    problem = name_problem(name, LONGEST_STUDY_BYTES) if given else f"{shown(name)} given"
    if problem is not None:
        raise SettingsError(f"study {problem}: name one with --study")
    return str(name)


class Places(Config):
    """Where the settings and the study are.

    Raises:
        SettingsError: If one of them cannot be such a place.
    """

    config: Path | None = option(None, "Settings file.", group="search", expected="a path")
    study: Annotated[str | None, BeforeValidator(checked_study)] = option(
        None, "Name of the study.", group="search"
    )
    storage: str | None = option(
        None, "URL of the database.", group="search", expected="the URL of a database", strict=True
    )
