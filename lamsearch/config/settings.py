"""`lamsearch.toml` → settings: which anchors, rewards and prompts exist.

Reading is quick: nothing here imports torch, diffusers or transformers.
"""

from __future__ import annotations

import importlib.resources
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
        return self.anchors[name] if name in self.anchors else self._absent("anchor", name)

    def reward(self, name: str) -> RewardSettings:
        """Return the reward of that name, or raise `SettingsError` listing those that exist."""
        return self.rewards[name] if name in self.rewards else self._absent("reward", name)

    def require_prompts(self) -> PromptSettings:
        """Return the default prompts, or raise `SettingsError` if the file names none."""
        if self.prompts is None:
            raise SettingsError(f"{self.path} names no prompts: add [prompts] file, or --prompts")
        return self.prompts

    def _absent(self, kind: str, name: str) -> NoReturn:
        known = self.anchors if kind == "anchor" else self.rewards
        have = f"it has {', '.join(known)}" if known else "it has none"
        raise SettingsError(
            f"no {kind} '{name}' in {self.path}: {have}{did_you_mean(name, list(known))}"
        )


def find_settings(config: Path | None = None) -> Path:
    """Return the settings file: `config`, else `./lamsearch.toml`, else the bundled one.

    Raises:
        SettingsError: If `config` was given but is no file.
    """
    if config is not None:
        if not config.is_file():
            raise SettingsError(f"{config}: no such settings file; give the path of a {FILE_NAME}")
        return config
    here = Path(FILE_NAME)
    bundled = Path(str(importlib.resources.files("lamsearch") / "miniature" / FILE_NAME))
    for candidate in (here, bundled):
        if candidate.is_file():
            return candidate
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
    try:
        # utf-8-sig: Windows editors put a byte order mark in front, which tomllib refuses
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # tomllib's own error, one of UTF-8, or an integer too long to read
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
