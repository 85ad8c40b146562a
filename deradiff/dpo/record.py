"""What the weights of a training depend on, kept beside them so that no other one resumes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sized
from pathlib import Path

from deradiff.dpo.presets import DPOSettings


def record(settings: DPOSettings, pairs: Sized) -> str:
    """Return the settings and the number of pairs as one line of JSON."""
    return json.dumps({**dataclasses.asdict(settings), "pairs": len(pairs)}, sort_keys=True)


def is_recorded(path: Path, expected: str) -> bool:
    """Return whether the file exists and holds the record `expected`.

    Settings that a file does not name, because an earlier version wrote it, have their defaults.

    Raises:
        ValueError: If the file holds another record.
    """
    if not path.exists():
        return False
    fields = dataclasses.fields(DPOSettings)
    defaults = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    found = json.loads(json.dumps(defaults)) | json.loads(path.read_text())
    wanted = json.loads(expected)
    different = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    if different:
        names = ", ".join(f"{name} {found.get(name)!r}" for name in different)
        raise ValueError(
            f"{path.parent} was written with other settings ({names}): use these again, or "
            "another output folder"
        )
    return True
