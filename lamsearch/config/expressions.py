"""What a search maximises, as text and as data: a reward, or a weighted sum of several."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lamsearch.errors import SettingsError

NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
"""A regular expression: an unsigned decimal number."""


@dataclass(frozen=True)
class Objective:
    """Σ weight · reward.

    Attributes:
        weights: Name of a reward → its weight, finite and not 0.
    """

    weights: Mapping[str, float]

    @property
    def plain(self) -> str | None:
        """The reward's name if the objective is that reward itself, else None."""
        [*names] = self.weights
        return names[0] if len(names) == 1 and self.weights[names[0]] == 1 else None

    @property
    def text(self) -> str:
        """The canonical form, such as `pickscore + 0.3*clip`."""
        joined = ""
        for name, weight in self.weights.items():
            sign = (" - " if weight < 0 else " + ") if joined else ("-" if weight < 0 else "")
            factor = "" if abs(weight) == 1 else f"{decimal(abs(weight))}*"
            joined += f"{sign}{factor}{name}"
        return joined

    @property
    def slug(self) -> str:
        """The text for file names and shells, `pickscore+0.3clip`; a single name stays as it is."""
        return self.plain or re.sub(r"[^\w.+-]", "", self.text)


def parse_objective(text: str, known: Collection[str] = ()) -> Objective:
    """Read `pickscore`, `pickscore + 0.3*clip`, `2*hps - 0.5*clip` and the like.

    Args:
        text: Terms `NAME` or `NUMBER*NAME`, joined by + or −. Terms of the same name are added up.
        known: Names that exist; with their help a name may contain more than letters, digits and
            underscores. Whether a name exists is not checked.

    Raises:
        SettingsError: If the text is no such sum, or a weight is 0 or not finite.
    """
    names = [rf"{re.escape(name)}(?!\w)" for name in sorted(known, key=len, reverse=True)]
    name = "|".join([*names, r"[^\W\d]\w*"])
    term = re.compile(rf"\s*([+-]?)\s*(?:({NUMBER})\s*\*\s*)?({name})\s*")
    weights: dict[str, float] = {}
    start = 0
    while start < len(text) or not weights:
        match = term.match(text, start)
        if match is None or (start and not match[1]):
            raise SettingsError(
                f"reward {text!r} given, expected a name or a sum such as 'pickscore + 0.3*clip'; "
                f"cannot read {text[start:].strip()!r}"
            )
        weight = float(match[2] or 1) * (-1 if match[1] == "-" else 1)
        weights[match[3]] = weights.get(match[3], 0.0) + weight
        start = match.end()
    for name, weight in weights.items():
        if not weight or not math.isfinite(weight):
            raise SettingsError(f"reward {text!r} gives {name} the weight {weight:g}: leave it out")
    return Objective(weights)


def decimal(number: float) -> str:
    """Return the shortest text that gives the number back."""
    return repr(float(number)).removesuffix(".0")
