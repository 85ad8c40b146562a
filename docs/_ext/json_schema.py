"""A dataclass and the dataclasses in it → tables of their fields, and a JSON Schema.

What is not in the JSON says so at the end of its line in the docstring: "Not in the JSON."
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union

_SKIPPED = "Not in the JSON."
_TYPES = {float: "number", int: "integer", str: "string", bool: "boolean", NoneType: "null"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One field: its name, type and the sentence from its class's docstring."""

    name: str
    annotation: Any
    sentence: str


def entries(record: type) -> list[Entry]:
    """Return the fields of a dataclass that are in the JSON."""
    hints, sentences = typing.get_type_hints(record), _sentences(record)
    all_entries = [
        Entry(field.name, hints[field.name], sentences.get(field.name, ""))
        for field in dataclasses.fields(record)
    ]
    return [entry for entry in all_entries if not entry.sentence.endswith(_SKIPPED)]


def records(record: type) -> list[type]:
    """Return a dataclass and all that are reached from its fields, each once."""
    found = [record]
    for each in found:
        for entry in entries(each):
            found += [inner for inner in _dataclasses(entry.annotation) if inner not in found]
    return found


def type_text(annotation: Any) -> str:
    """Return a type in the words of JSON, with links to the sections of other records."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        name = typing.cast("type", annotation).__name__
        return f"[{name}](#{name.lower()})"
    if origin in (Union, UnionType):
        return " or ".join(map(type_text, arguments))
    if origin is tuple and Ellipsis not in arguments:
        return f"array of {len(arguments)} {type_text(arguments[0])}s"
    if _is_sequence(origin):
        return f"array of {type_text(arguments[0])}"
    if _is_mapping(origin):
        return f"object: name → {type_text(arguments[1])}"
    if origin is Literal:
        return " or ".join(f'"{each}"' for each in arguments)
    return _TYPES.get(annotation, "any")


def schema(record: type) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a dataclass as its `to_json` writes it."""
    root, *others = records(record)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": root.__name__,
        **_object(root),
        "$defs": {each.__name__: _object(each) for each in others},
    }


def _object(record: type) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            entry.name: {**_type_schema(entry.annotation), "description": entry.sentence}
            for entry in entries(record)
        },
        "required": [entry.name for entry in entries(record)],
    }


def _type_schema(annotation: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        return {"$ref": f"#/$defs/{typing.cast('type', annotation).__name__}"}
    if origin in (Union, UnionType):
        return {"anyOf": [_type_schema(each) for each in arguments]}
    if origin is tuple and Ellipsis not in arguments:
        items = [_type_schema(each) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if origin is Literal:
        return {"enum": list(arguments)}
    if _is_sequence(origin):
        return {"type": "array", "items": _type_schema(arguments[0])}
    if _is_mapping(origin):
        return {"type": "object", "additionalProperties": _type_schema(arguments[1])}
    return {"type": _TYPES[annotation]} if annotation in _TYPES else {}


def _is_sequence(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _dataclasses(annotation: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(annotation):
        yield typing.cast("type", annotation)
    for argument in typing.get_args(annotation):
        yield from _dataclasses(argument)


def _sentences(record: type) -> dict[str, str]:
    """Return the lines under "Attributes:" of a Google-style docstring, by name."""
    _, _, attributes = (inspect.getdoc(record) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
