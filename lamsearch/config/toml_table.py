"""Reading one TOML table: each getter returns a checked value or raises one clear line.

Every complaint has the form `FILE: KEY.PATH: what was given, what was expected`.
"""

import difflib
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lamsearch.errors import SettingsError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Returns `; did you mean 'x'?` for the known word nearest to `word`, else an empty string."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


class Table:
    """One table of a TOML file, with the file and the key path for its complaints.

    Args:
        values: the table as `tomllib` returned it.
        file: the TOML file as the user named it; relative locations start from its folder.
        path: the keys that lead to this table.
    """

    def __init__(self, values: Mapping[str, Any], file: Path, *, path: tuple[str, ...] = ()):
        self.values = values
        self.file = file
        self.path = path

    def error(self, key: str, complaint: str) -> SettingsError:
        """Returns (does not raise) the error of one key."""
        return SettingsError(f"{self.file}: {'.'.join((*self.path, key))}: {complaint}")

    def allow(self, *known: str) -> None:
        """Refuses keys that are not in `known`; a wrong key is never silently ignored."""
        for key in self.values:
            if key not in known:
                expected = f"expected one of {', '.join(known)}{did_you_mean(key, known)}"
                raise self.error(key, f"unknown key, {expected}")

    def table(self, key: str) -> "Table":
        """Returns the table under `key`, an empty one where the key is absent."""
        value = self.values.get(key, {})
        if not isinstance(value, Mapping):
            raise self.error(key, f"{value!r} given, expected a table")
        return Table(value, self.file, path=(*self.path, key))

    def tables(self, key: str) -> "dict[str, Table]":
        """Returns the tables inside the table under `key`, by name."""
        outer = self.table(key)
        return {name: outer.table(name) for name in outer.values}

    def require(self, *keys: str) -> None:
        """Refuses a table in which one of `keys` is absent."""
        for key in keys:
            if key not in self.values:
                raise self.error(key, "missing, but required")

    def text(self, key: str) -> str | None:
        """Returns a string, or None where the key is absent."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(key, f"{value!r} given, expected a string")
        return value

    def choice(self, key: str, default: str, *, known: Collection[str]) -> str:
        """Returns one of the words `known`."""
        value = self.text(key)
        if value is not None and value not in known:
            hint = did_you_mean(value, known)
            raise self.error(key, f"{value!r} given, expected one of {', '.join(known)}{hint}")
        return default if value is None else value

    def flag(self, key: str, default: bool) -> bool:
        """Returns true or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"{value!r} given, expected true or false")
        return value

    def number(self, key: str, *, above: float | None = None, least: float | None = None) -> float:
        """Returns a finite number that is > `above` or ≥ `least`; the key must be present."""
        value = self.values[key]
        bound = f" > {above}" if above is not None else f" >= {least}" if least is not None else ""
        # bool is an int in Python; an integer too large for a float is not a usable number either
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
            raise self.error(key, f"{value!r} given, expected a number{bound}")
        too_low = (above is not None and value <= above) or (least is not None and value < least)
        if not math.isfinite(value) or too_low:
            raise self.error(key, f"{value!r} given, expected a number{bound}")
        return float(value)

    def integer(self, key: str, default: int, *, least: int) -> int:
        """Returns an integer ≥ `least`."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.error(key, f"{value!r} given, expected an integer >= {least}")
        return value

    def file_path(self, key: str) -> Path:
        """Returns the absolute path of an existing file, relative to the TOML file's folder."""
        path = self._absolute(self._named(key))
        if not path.is_file():
            raise self.error(key, f"{self.values[key]!r} given, but there is no file {path}")
        return path

    def location(self, key: str) -> str:
        """Returns the absolute path of an existing file or folder, else a hub id as it is.

        A string that is no hub id (`owner/name`), or plainly a path (it starts with `.`, `/` or
        `~`, or ends with `.safetensors`), must exist.
        """
        value = self._named(key)
        path = self._absolute(value)
        if path.exists():
            return str(path)
        # "checkpoints/mine" looks like a hub id too; where checkpoints/ lies, it is a path.
        plainly_local = (
            value.startswith((".", "/", "~"))
            or value.endswith(".safetensors")
            or (path.parent.is_dir() and path.parent != self.file.absolute().parent.resolve())
        )
        if plainly_local or not _HUB_ID.fullmatch(value):
            complaint = f"{value!r} given, but {path} does not exist; expected a path or a hub id"
            raise self.error(key, f"{complaint} 'owner/name'")
        return value

    def _named(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise self.error(key, f"{value!r} given, expected a path or a name")
        return value

    def _absolute(self, value: str) -> Path:
        # not resolve(): the hub's cache links `x.safetensors` to a blob of another name
        return Path(os.path.abspath(self.file.parent / os.path.expanduser(value)))
