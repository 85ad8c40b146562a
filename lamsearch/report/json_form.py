"""Reports as JSON: the fields of their dataclasses, but for what only Python can use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

NOT_JSON = {"json": False}
"""Metadata of a field that only Python can use."""


def to_json(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values; what is not finite is null."""
    names = (field.name for field in dataclasses.fields(value) if field.metadata.get("json", True))
    return {name: _json(getattr(value, name)) for name in names}


def _json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {key: _json(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
