"""Strings of a settings file that name files, folders and models on the hub, as field types.

Relative paths start from the file's folder. The file comes with the validation's context, as
`{"file": Path}`; without it, as in Python code, strings are taken as they are.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from lamsearch.config.strict_table import complaint
from lamsearch.plain_text import shortened, shown

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def _location(value: str, info: ValidationInfo) -> str:
    """Return the absolute path of an existing file or folder, else a hub id as it is.

    A string that is no hub id (`owner/name`), or plainly a path (it starts with `.`, `/` or `~`,
    or ends with `.safetensors`), must exist.
    """
    _refuse_empty(value)
    if info.context is None:
        return value
    file: Path = info.context["file"]
    path = _absolute(value, file)
    if os.path.exists(path):  # unlike the method of Path, False for a name that is too long
        return str(path)
    # "checkpoints/mine" looks like a hub id too; if the folder checkpoints/ exists, it is a path.
    plainly_local = (
        value.startswith((".", "/", "~"))
        or value.endswith(".safetensors")
        or (os.path.isdir(path.parent) and path.parent != file.absolute().parent.resolve())
    )
    if plainly_local or not _HUB_ID.fullmatch(value):
        raise complaint(
            f"{shown(value)} given, but {shortened(path, 300)} does not exist; expected "
            "a path or a hub id 'owner/name'"
        )
    return value


def _locations(value: Any, info: ValidationInfo) -> Any:
    """Return a location, or a table of them, as `_location` does."""
    if isinstance(value, dict) and value and all(isinstance(each, str) for each in value.values()):
        return {name: _location(each, info) for name, each in value.items()}
    if not isinstance(value, str):
        raise complaint(f"{shown(value)} given, expected a string or a table of strings")
    return _location(value, info)


def _option(value: Any, info: ValidationInfo) -> Any:
    """Return a plain path as `_location` does, and any other value as it is."""
    if isinstance(value, str) and value.startswith(("./", "../", "~/")):
        return _location(value, info)
    return value


def _existing_file(value: Any, info: ValidationInfo) -> Any:
    """Return the absolute path of an existing file."""
    if not isinstance(value, str):
        return value
    _refuse_empty(value)
    if info.context is None:
        return Path(value)
    path = _absolute(value, info.context["file"])
    if not os.path.isfile(path):
        raise complaint(f"{shown(value)} given, but there is no file {shortened(path, 300)}")
    return path


def _refuse_empty(value: str) -> None:
    if not value:
        raise complaint(f"{shown(value)} given, expected a path or a name")


def _absolute(value: str, file: Path) -> Path:
    # Not resolve(): the hub's cache links `x.safetensors` to a blob of another name.
    return Path(os.path.abspath(file.parent / os.path.expanduser(value)))


Location = Annotated[str, AfterValidator(_location)]
"""A path, or a hub id `owner/name`."""

Locations = Annotated[str | dict[str, str], BeforeValidator(_locations)]
"""A location, or a table of locations by name."""

Option = Annotated[Any, AfterValidator(_option)]
"""Anything; a string that starts with `./`, `../` or `~/` is a path."""

ExistingFile = Annotated[Path, BeforeValidator(_existing_file)]
"""The path of a file."""
