"""Markdown tables of options, for the directives that generate reference pages."""

from __future__ import annotations

import importlib
import re
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_PLAIN = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    NoneType: "",
}
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def load(target: str) -> Any:
    """Return the object at `module:attribute`."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def table(headings: Sequence[str], widths: Sequence[int], rows: Iterable[Sequence[str]]) -> str:
    """Return a MyST list-table; cells are Markdown without line breaks."""
    lines = [
        "```{list-table}",
        ":header-rows: 1",
        ":class: options",
        f":widths: {_joined(widths)}",
        "",
    ]
    for row in (headings, *rows):
        lines += [f"{'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return "\n".join([*lines, "```", ""])


def prose(text: str) -> str:
    """Return a sentence as Markdown: flags are code, and nothing else outside of backticks is."""
    flagged = re.sub(r"(?<![`\w])(--[a-z][a-z-]*(?: auto\b)?)", r"`\1`", " ".join(text.split()))
    parts = re.split(r"(`[^`]*`)", flagged)
    return "".join(p if p.startswith("`") else re.sub(r"([*_<>\[\]$])", r"\\\1", p) for p in parts)


def describe_type(field: FieldInfo) -> str:
    """Return what a field takes, with its bounds: "whole number ≥ 1"."""
    bounds = [
        f"{sign}\u00a0{getattr(each, name):g}"
        for each in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(each, name, None) is not None
    ]
    return " ".join([_type_text(field.annotation), ", ".join(bounds)]).strip()


def describe_default(field: FieldInfo) -> str:
    """Return the default as code; "required", or "–" where there is none to show."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined or isinstance(default, BaseModel):
        return "–"
    return value_text(default)


def value_text(value: Any) -> str:
    """Return a value as code; nothing for an empty collection."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        words = (f"{each:g}" if isinstance(each, float) else str(each) for each in value)
        return f"`{' '.join(words)}`" if value else "–"
    if value in ({}, ""):
        return "–"
    return f"`{value}`"


def _type_text(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(filter(None, map(_type_text, arguments)))
    if origin is tuple:
        inner = [each for each in arguments if each is not Ellipsis]
        return f"{len(inner)} numbers" if Ellipsis not in arguments else "list of names"
    if isinstance(origin, type) or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    ):
        return "table"
    return _PLAIN.get(annotation, "text")


def _joined(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))
