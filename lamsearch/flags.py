"""Fields of a config → flags of the command line, with their choices and help."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lamsearch.config.fields import Config
from lamsearch.plain_text import shown

_LONGEST_NUMBER = 18

GROUPS = ("search", "images", "guards", "voting")
"""Headings of the fields' flags, in order."""


def add_flags(
    parser: argparse.ArgumentParser,
    configs: Collection[type[Config]],
    *,
    required: Collection[str] = (),
) -> None:
    """Add one flag per field, under the heading of its group.

    Flags that are not given leave no trace in the namespace: the defaults are the fields'.

    Args:
        parser: Where to add them.
        configs: Configs whose fields become flags.
        required: Fields that must be given.
    """
    fields = [each for config in configs for each in config.model_fields.items()]
    headings = dict.fromkeys([*(details(field)["group"] for _, field in fields), *GROUPS])
    groups = {
        heading: parser.add_argument_group(heading)
        for heading in sorted(headings, key=lambda each: each in GROUPS)
    }
    for name, field in fields:
        # `as_` is `--as`: Python reserves some words.
        groups[details(field)["group"]].add_argument(
            f"--{name.rstrip('_').replace('_', '-')}",
            dest=name,
            required=name in required,
            default=argparse.SUPPRESS,
            help=_help(field, required=name in required),
            **_kind(field),
        )


def details(field: FieldInfo) -> dict[str, Any]:
    """Return what `lamsearch.config.fields.option` was told beside pydantic's own."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra


def default_text(field: FieldInfo) -> str:
    """Return a field's default as a user would write it, empty for none."""
    default = field.default
    if default is None or default == () or default is ... or default is False:
        return ""
    return " ".join(f"{v:g}" for v in default) if isinstance(default, tuple) else str(default)


def _help(field: FieldInfo, *, required: bool) -> str:
    default = "" if required else default_text(field)
    text = f"{field.description} [{default}]" if default else str(field.description)
    return text.replace("%", "%%")


def _kind(field: FieldInfo) -> dict[str, Any]:
    """Return how argparse reads a field's values."""
    metavar = details(field)["metavar"]
    alternatives = _alternatives(field.annotation)
    words = [w for a in alternatives if get_origin(a) is Literal for w in get_args(a)]
    types = [a for a in alternatives if get_origin(a) is not Literal]
    if words and not types:
        return {"choices": words}
    if words:
        return {"type": _number_or(words), "metavar": metavar}
    if types == [bool]:
        return {"action": "store_true"}
    origin = get_origin(types[0])
    if origin is tuple and ... in get_args(types[0]):
        return {"action": "extend", "type": names, "metavar": metavar}
    if origin is Sequence:
        (each,) = get_args(types[0])
        return {"action": "extend", "type": each, "nargs": "+", "metavar": metavar}
    if origin is tuple:
        return {"type": float, "nargs": 2, "metavar": tuple(metavar.split())}
    return {"type": types[0] if types[0] in (int, float, Path) else str, "metavar": metavar}


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return [a for a in get_args(annotation) if a is not type(None)]
    return [annotation]


def _number_or(words: Collection[str]) -> Any:
    def read(text: str) -> int | str:
        if text in words:
            return text
        if not text.isdecimal() or len(text) > _LONGEST_NUMBER:
            expected = f"expected a number, or {', '.join(words)}"
            raise argparse.ArgumentTypeError(f"{shown(text)} given, {expected}")
        return int(text)

    return read


def names(text: str) -> list[str]:
    """Return the names in a text, which are separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
