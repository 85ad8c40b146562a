"""A table of a TOML file as a frozen pydantic model, and its mistakes as one line each.

Pydantic's own messages leave out the range of a number, the known keys of a table, and what was
probably meant. A `StrictTable` states them in the form `what was given, what was expected`; its
fields are declared as usual, and the words come from their type and bounds.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from lamsearch.plain_text import shortened, shown

_COMPLAINT = "complaint"
_LONGEST_WORD = 200
_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Path: "a path",
}


class StrictTable(BaseModel):
    """A table whose keys are the fields: unknown keys and values of another type are refused."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,  # costs CPU time on import, also where no file is read
    )

    @classmethod
    def file_keys(cls) -> tuple[str, ...]:
        """Return the keys as a file spells them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, table: Any) -> Any:
        if isinstance(table, cls):
            return table
        if not isinstance(table, Mapping):
            raise complaint(f"{shown(table)} given, expected a table")
        known = cls.file_keys()
        for key in table:
            if key not in known and cls.model_config["extra"] == "forbid":
                expected = f"expected one of {', '.join(known)}{did_you_mean(key, known)}"
                raise complaint(f"unknown key, {expected}", key=key)
        return table

    @field_validator("*", mode="wrap")
    @classmethod
    def _say_what_was_expected(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            problem = error.errors()[0]
            if problem["loc"] or problem["type"] == _COMPLAINT or info.field_name is None:
                raise
            field = cls.model_fields[info.field_name]
        choices = _choices(field)
        hint = did_you_mean(value, choices) if choices and isinstance(value, str) else ""
        raise complaint(f"{shown(value)} given, expected {expectation(field)}{hint}")


def complaint(text: str, *, key: str | None = None) -> PydanticCustomError:
    """Return the error of a value, or of one key of a table, for a validator to raise."""
    return PydanticCustomError(_COMPLAINT, "{text}", {"key": key, "text": text})


def one_line(error: ValidationError, file: Path) -> str:
    """Return the first problem as `FILE: KEY.PATH: what was given, what was expected`."""
    problem = error.errors(include_url=False)[0]
    key = problem.get("ctx", {}).get("key")
    keys = [str(part) for part in (*problem["loc"], *([] if key is None else [key]))]
    # A quoted key may contain anything, even a line break.
    place = ".".join(shortened(key) if key.isprintable() else shown(key) for key in keys)
    text = "missing, but required" if problem["type"] == "missing" else problem["msg"]
    return f"{file}: {place}: {text}"


def expectation(field: FieldInfo) -> str:
    """Return in words what a field accepts, such as `an integer >= 1`."""
    if choices := _choices(field):
        return f"one of {', '.join(choices)}"
    words = _WORDS.get(_kind(field.annotation), "a table")
    for bound in field.metadata:
        if getattr(bound, "min_length", None):
            words += " that is not empty"
        for name, sign in (("gt", ">"), ("ge", ">=")):
            if hasattr(bound, name):
                words += f" {sign} {getattr(bound, name)}"
    return words


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `word`, else an empty string."""
    if len(word) > _LONGEST_WORD:  # the comparison takes the square of its length
        return ""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _choices(field: FieldInfo) -> tuple[str, ...]:
    kind = _kind(field.annotation)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _kind(annotation: Any) -> Any:
    """Return the type itself, without `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated or type(None) in get_args(annotation):
        return _kind(get_args(annotation)[0])
    return annotation
