"""One check of an installation, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from lamsearch.errors import LamsearchError, described

State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    Attributes:
        name: What was looked at, such as "storage" or "anchor mine".
        state: "ok"; "warning" where a search runs but there is something to know; "wrong" where it
            would fail.
        text: What was found, and where it is not "ok" what to do.
    """

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order in which they were made.

    Attributes:
        checks: The checks.
        settings: The settings as they were understood, as JSON; None where they cannot be read.
    """

    checks: tuple[Check, ...]
    settings: dict[str, Any] | None = None

    @property
    def wrong(self) -> list[str]:
        """Names of what is wrong."""
        return [check.name for check in self.checks if check.state == "wrong"]

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        checks = [{"name": c.name, "state": c.state, "text": c.text} for c in self.checks]
        return {"ok": not self.wrong, "checks": checks, "settings": self.settings}


def examined(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield what an examination finds; whatever it raises becomes a check that is wrong.

    Args:
        name: What is examined, for an examination that fails.
        look: Yields its checks.
    """
    try:
        yield from look()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: libraries and rewards are not ours
        text = str(error) if isinstance(error, LamsearchError) else described(error)
        yield Check(name, "wrong", text)


def size_text(count: float) -> str:
    """Return a number of bytes in words, such as "13.9 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
