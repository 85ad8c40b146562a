"""Options, declared once: a field has its default, range, choices and a sentence.

Python's keywords, the command line's flags and help, the manifest of a study and the reference
page are made from these fields.
"""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lamsearch.config.strict_table import did_you_mean, expectation
from lamsearch.errors import SettingsError
from lamsearch.plain_text import shown

_LONG = 1e15


def _as_int(value: Any) -> Any:
    """Return a whole number of any type, such as numpy's, as an `int`."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if is_whole else value


Whole = Annotated[int, BeforeValidator(_as_int)]
"""A whole number; with `strict=True` neither 4.0 nor "4" is one."""


def option(
    default: Any,
    description: str,
    *,
    group: str,
    expected: str | None = None,
    metavar: str | None = None,
    **constraints: Any,
) -> Any:
    """Return a field of a `Config`.

    Args:
        default: Its default; `...` for none.
        description: One sentence, for the help text and the reference page.
        group: Heading that it stands under in `lamsearch run --help`.
        expected: The range in words, for error messages; by default those of the type and bounds.
        metavar: Placeholder of the value on the command line.
        **constraints: For pydantic's `Field`, such as `ge=1`; `exclude=True` keeps a field that
            may change on resume out of the manifest.
    """
    extra: dict[str, Any] = {"group": group, "expected": expected, "metavar": metavar}
    return Field(default, description=description, json_schema_extra=extra, **constraints)


class Config(BaseModel):
    """A frozen set of options.

    Raises:
        SettingsError: If a value is out of its range; one line says what was given and expected.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(self._line(error)) from None

    @classmethod
    def select(cls, values: dict[str, Any]) -> Self:
        """Return the config with those of the values that it has a field for."""
        return cls(**{name: value for name, value in values.items() if name in cls.model_fields})

    def flags(self, always: Collection[str] = ()) -> list[str]:
        """Return the options that are not at their defaults as words of the command line.

        Args:
            always: Fields to name whatever their value.
        """
        words = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in always or value != field.default:
                words += [f"--{name.replace('_', '-')}", *_words(value)]
        return words

    @classmethod
    def _line(cls, error: ValidationError) -> str:
        """Return the first problem as one line."""
        problem = error.errors(include_url=False)[0]
        name, given = str((*problem["loc"], "options")[0]), problem["input"]
        if name not in cls.model_fields:
            return f"unknown option '{name}'{did_you_mean(name, cls.model_fields)}"
        field = cls.model_fields[name]
        extra = field.json_schema_extra
        expected = extra.get("expected") if isinstance(extra, dict) else None
        option = f"{name.replace('_', ' ')} {value_text(given)}"
        return f"{option} given, expected {expected or expectation(field)}"


def _words(value: Any) -> list[str]:
    """Return an option's value as words: names joined by commas, numbers apart."""
    if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        return [",".join(value)]
    if isinstance(value, tuple):
        return [f"{each:.15g}" for each in value]
    return [str(getattr(value, "text", value))]


def value_text(value: Any) -> str:
    """Return any value as a message quotes it: a number in short, all else by its `repr`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LONG:
        return f"{value:g}"
    return shown(value)
