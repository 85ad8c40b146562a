"""`lamsearch.toml` → settings: which anchors, rewards and prompts exist.

Reading is quick: nothing here imports torch, diffusers or transformers.
"""

from __future__ import annotations

import importlib.resources
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pydantic import Field, ValidationError

from lamsearch.config.file_format import (
    AnchorTable,
    PromptSettings,
    SamplingSettings,
    SettingsFile,
)
from lamsearch.config.reward_tables import BUILT_IN_REWARDS, ENTRY_POINT_GROUP
from lamsearch.config.strict_table import did_you_mean, one_line
from lamsearch.errors import SettingsError
from lamsearch.plain_text import LONGEST_PATH, shortened, shown
from lamsearch.text_files import read_text_file

__all__ = [
    "BUILT_IN_REWARDS",
    "ENTRY_POINT_GROUP",
    "FILE_NAME",
    "AnchorSettings",
    "PromptSettings",
    "RewardSettings",
    "SamplingSettings",
    "Settings",
    "find_settings",
    "load_settings",
]

FILE_NAME = "lamsearch.toml"

_LARGEST_BYTES = 1_000_000


class AnchorSettings(AnchorTable):
    """The anchor of a table `[anchors.NAME]`, with its locations resolved."""

    name: str = Field(description="The table's name.")


@dataclass(frozen=True)
class RewardSettings:
    """One reward: what to load and with which keyword arguments.

    Attributes:
        name: The table's name.
        kind: A built-in reward such as `pickscore`, an entry point's name, or `module:attribute`.
        options: Keyword arguments for the reward: `model`, `processor` and others.
        folder: Folder of the settings file; a `module:attribute` may lie in it.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def model(self) -> str | None:
        """Path or hub id of the reward's weights, where the file names it."""
        return self.options.get("model")

    @property
    def processor(self) -> str | None:
        """Path or hub id of the tokenizer and image processor, where the file names it."""
        return self.options.get("processor")


@dataclass(frozen=True)
class Settings:
    """A whole `lamsearch.toml`.

    Attributes:
        path: Absolute path of the file.
        anchors: The anchors by name.
        rewards: The rewards by name.
        prompts: The default prompts, if the file names any.
        description: One line about the file, for people.
    """

    path: Path
    anchors: Mapping[str, AnchorSettings]
    rewards: Mapping[str, RewardSettings]
    prompts: PromptSettings | None = None
    description: str | None = None

    def anchor(self, name: str) -> AnchorSettings:
        """Return the anchor of that name, or raise `SettingsError` listing those that exist."""
        is_there = isinstance(name, str) and name in self.anchors
        return self.anchors[name] if is_there else self._absent("anchor", name)

    def reward(self, name: str) -> RewardSettings:
        """Return the reward of that name, or raise `SettingsError` listing those that exist."""
        return self.rewards[name] if name in self.rewards else self._absent("reward", name)

    def require_prompts(self) -> PromptSettings:
        """Return the default prompts, or raise `SettingsError` if the file names none."""
        if self.prompts is None:
            raise SettingsError(f"{self.path} names no prompts: add [prompts] file, or --prompts")
        return self.prompts

    @property
    def flag(self) -> list[str]:
        """The words of the command line that name the file, none where it is found without."""
        if self.path == find_settings().absolute():
            return []
        here = Path.cwd()
        shown = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        return ["--config", str(shown)]

    def _absent(self, kind: str, name: str) -> NoReturn:
        is_text = isinstance(name, str)
        given = f"'{shortened(name)}'" if is_text else shown(name)
        known = self.anchors if kind == "anchor" else self.rewards
        have = f"it has {shortened(', '.join(known), 500)}" if known else "it has none"
        hint = did_you_mean(name, list(known)) if is_text else ""
        raise SettingsError(f"no {kind} {given} in {self.path}: {have}{hint}")


def find_settings(config: Path | None = None) -> Path:
    """Return the settings file: `config`, else `./lamsearch.toml`, else the bundled one.

    A `./lamsearch.toml` that is there is never passed over, even where it cannot be read.

    Raises:
        SettingsError: If `config` was given but does not exist.
    """
    if config is not None:
        if not os.path.lexists(config):
            given = shortened(config, LONGEST_PATH)
            raise SettingsError(f"{given}: no such settings file; give the path of a {FILE_NAME}")
        return config
    here = Path(FILE_NAME)
    # Whatever it is: to fall back to other models than those that lie here would be worse.
    if os.path.lexists(here):
        return here
    bundled = Path(str(importlib.resources.files("lamsearch") / "miniature" / FILE_NAME))
    if bundled.is_file():
        return bundled
    raise SettingsError(f"no {FILE_NAME} in {here.absolute().parent}; name one with --config")


def load_settings(path: Path) -> Settings:
    """Read and validate a settings file.

    Raises:
        SettingsError: If the file cannot be read, or a key is wrong; one line names file and key.
    """
    try:
        tables = SettingsFile.model_validate(_parse(path), context={"file": path})
    except ValidationError as error:
        raise SettingsError(one_line(error, path)) from error
    absolute = path.absolute()
    return Settings(
        path=absolute,
        anchors={
            name: AnchorSettings(name=name, **dict(table)) for name, table in tables.anchors.items()
        },
        rewards={
            name: RewardSettings(name, table.kind, table.options, absolute.parent)
            for name, table in tables.rewards.items()
        },
        prompts=tables.prompts,
        description=tables.description,
    )


def _parse(path: Path) -> dict[str, Any]:
    text = read_text_file(path, largest=_LARGEST_BYTES, error=SettingsError)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # tomllib's own error, or an integer too long to read
        raise SettingsError(f"{path}: not valid TOML: {shortened(error, 200)}") from error
