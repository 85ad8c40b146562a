"""The keywords of `lamsearch.search`, `run` and `agree`: the fields of the configs, as types.

A test keeps them equal to the fields, which have the defaults, ranges and descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict, is_typeddict

from lamsearch.config.strict_table import did_you_mean
from lamsearch.errors import SettingsError
from lamsearch.loop import Progress
from lamsearch.plain_text import shown


class SearchKeywords(TypedDict, total=False):
    """Fields of `lamsearch.bayesopt.config.SearchConfig`, but for the budget."""

    bounds: tuple[float, float]
    seed: int
    acquisition: str
    kernel: str
    recommend: str
    noise: str
    epsilon: float | str | None
    constraint: str | None
    confidence: float


class RunKeywords(SearchKeywords, total=False):
    """Keywords of `run`: the fields of the four configs, and where files and studies are.

    Attributes:
        config: The settings file; by default `./lamsearch.toml`, or else the bundled one.
        study: Name of the study, by default made of the anchor, the reward and the seed.
        storage: SQLAlchemy URL of its database, by default a file in `lamsearch-studies`.
        progress: Receives what happens.
    """

    images: int | str
    plan: str
    prompts: str | Path | None
    batch_size: int
    device: str | None
    allow_code: bool
    keep: int
    ray: str | None
    actors: int | None
    also: Sequence[str]
    confirm: int
    confirm_prompts: str | Path | None
    track: Sequence[str]
    config: str | Path | None
    study: str | None
    storage: str | None
    progress: Progress | None


class FamilyProgress(Progress, Protocol):
    """Receives what happens in an agreement."""

    def emulating(self, anchor: str, lams: int, images: int) -> None:
        """An anchor is loaded; `lams` λs are evaluated on `images` images each."""
        ...


class AgreeKeywords(TypedDict, total=False):
    """Keywords of `agree`: the fields of `AgreementConfig`, and where files and studies are.

    Attributes:
        config: The settings file; by default `./lamsearch.toml`, or else the bundled one.
        study: Name of the study, by default `agreement-seedS`.
        storage: SQLAlchemy URL of its database, by default a file in `lamsearch-studies`.
        progress: Receives what happens.
    """

    images: int
    seed: int
    prompts: str | Path | None
    batch_size: int
    device: str | None
    allow_code: bool
    config: str | Path | None
    study: str | None
    storage: str | None
    progress: FamilyProgress | None


def check_progress(given: object, protocol: type) -> None:
    """Refuse what cannot receive what happens; None is fine.

    Raises:
        SettingsError: If a method of the protocol is missing.
    """
    if given is None:
        return
    for name in (name for base in protocol.__mro__ for name in vars(base) if name[0] != "_"):
        if not callable(getattr(given, name, None)):
            raise SettingsError(f"progress {shown(given)} given, expected an object with .{name}()")


def check_keywords(function: str, given: Mapping[str, Any], known: type) -> None:
    """Refuse a keyword that a function does not have, as Python would.

    Raises:
        TypeError: If there is one.
    """
    assert is_typeddict(known)
    for name in given:
        if name not in known.__annotations__:
            hint = did_you_mean(name, known.__annotations__)
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'{hint}")
