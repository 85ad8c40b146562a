"""Expressions over rewards, as text and as data: what a search maximises, and its constraint.

The objective is a reward or a weighted sum of several; the constraint bounds one reward from below.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lamsearch.errors import SettingsError
from lamsearch.plain_text import shown

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"  # unsigned
_CONSTRAINT = re.compile(
    rf"""\s*(?P<name>[^\s<>=≥≤][^<>=≥≤]*?)\s* (?:>=|≥) \s*(?:
        (?P<percent>[+-]?{_NUMBER})\s*%\s*of\s+(?:the\s+)?reference
        | reference(?:\s*(?P<sign>[+-])\s*(?P<difference>{_NUMBER}))?
        | (?P<level>[+-]?{_NUMBER})
    )\s*""",
    re.VERBOSE,
)
_LARGEST_PERCENT = 50.0
_LEAST_PERCENT = -1e6
_LARGEST_NUMBER = 1e150
"""As of a score: squares of larger ones overflow."""

_LONGEST_CONSTRAINT, _LONGEST_OBJECTIVE = 500, 4000
"""Characters; longer texts are no such expressions, and take long to read."""


@dataclass(frozen=True)
class Objective:
    """Σ weight · reward.

    Attributes:
        weights: Name of a reward → its weight, finite and not 0.
    """

    weights: Mapping[str, float]

    @property
    def plain(self) -> str | None:
        """The reward's name if the objective is that reward alone with weight 1, else None."""
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
            underscores. Whether a name in the text exists is not checked.

    Raises:
        SettingsError: If the text is not such a sum, or a weight is 0 or not finite.
    """
    if not isinstance(text, str) or len(text) > _LONGEST_OBJECTIVE:
        raise SettingsError(
            f"reward {shown(text)} given, expected a name or a short sum of rewards"
        )
    longest_first = sorted(filter(None, known), key=len, reverse=True)
    names = [rf"{re.escape(name)}(?!\w)" for name in longest_first]
    name = "|".join([*names, r"[^\W\d]\w*"])
    term = re.compile(rf"\s*([+-]?)\s*(?:({_NUMBER})\s*\*\s*)?({name})\s*")
    weights: dict[str, float] = {}
    start = 0
    while start < len(text) or not weights:
        match = term.match(text, start)
        if match is None or (start and not match[1]):
            raise SettingsError(
                f"reward {shown(text)} given, expected a name or a sum such as "
                f"'pickscore + 0.3*clip'; cannot read {shown(text[start:].strip())}"
            )
        weight = float(match[2] or 1) * (-1 if match[1] == "-" else 1)
        weights[match[3]] = weights.get(match[3], 0.0) + weight
        start = match.end()
    for name, weight in weights.items():
        if not abs(weight) <= _LARGEST_NUMBER:
            problem = f"expected a finite number up to {_LARGEST_NUMBER:g}"
        elif weight == 0:
            problem = "leave it out"
        else:
            continue
        raise SettingsError(f"reward {shown(text)} gives {name} the weight {weight:g}: {problem}")
    return Objective(weights)


@dataclass(frozen=True)
class Constraint:
    """G(λ) ≥ G(0) + percent/100·|G(0)| + difference; or G(λ) ≥ level, where a level is given.

    G(λ) is the mean of another reward on the images of the search.

    Attributes:
        name: Name of the reward G.
        percent: Change against the reference, in percent of its mean.
        difference: Change against the reference, in units of the score.
        level: Absolute level, or None.
    """

    name: str
    percent: float = 0.0
    difference: float = 0.0
    level: float | None = None

    @property
    def text(self) -> str:
        """The canonical form, as `parse_constraint` reads it."""
        if self.level is not None:
            return f"{self.name} >= {decimal(self.level)}"
        if self.percent:
            return f"{self.name} >= {decimal(self.percent)}% of reference"
        if not self.difference:
            return f"{self.name} >= reference"
        sign = "-" if self.difference < 0 else "+"
        return f"{self.name} >= reference {sign} {decimal(abs(self.difference))}"

    @property
    def certain_at_reference(self) -> bool:
        """Whether λ = 0 satisfies it by definition."""
        return self.level is None and self.percent <= 0 and self.difference <= 0

    def inequality(self, reference: float) -> tuple[float, float]:
        """Return (a, b) of G(λ) − a·G(0) ≥ b, G(0) having the sign of `reference`."""
        if self.level is not None:
            return 0.0, self.level
        share = self.percent / 100 * (-1 if reference < 0 else 1)
        return 1 + share, self.difference


def parse_constraint(text: str) -> Constraint:
    """Read `clip >= -1% of reference`, `clip >= reference - 0.01`, or `clip >= 0.35`.

    Raises:
        SettingsError: If the text has another form, or a number in it is too large.
    """
    match = None if len(text) > _LONGEST_CONSTRAINT else _CONSTRAINT.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"constraint {shown(text)} given, expected 'NAME >= -1% of reference', "
            "'NAME >= reference - 0.01' or 'NAME >= 0.35'"
        )
    name, percent, sign, difference, level = match.groups()
    for number in (percent, difference, level):
        if number is not None and not abs(float(number)) <= _LARGEST_NUMBER:
            expected = f"expected a finite number up to {_LARGEST_NUMBER:g}"
            raise SettingsError(f"constraint {shown(text)}: {number} given, {expected}")
    if percent is not None and float(percent) < _LEAST_PERCENT:
        raise SettingsError(
            f"constraint {shown(text)} lets the reward fall by anything: leave it out"
        )
    if percent is not None and float(percent) >= _LARGEST_PERCENT:
        raise SettingsError(
            f"constraint {shown(text)} asks for a change of {float(percent):+g} %: the percentage "
            "is the change against the reference, so that '-1% of reference' lets it fall by 1 %"
        )
    return Constraint(
        name,
        percent=float(percent or 0),
        difference=float((sign or "") + (difference or "0")),
        level=None if level is None else float(level),
    )


def decimal(number: float) -> str:
    """Return the shortest text that gives the number back."""
    return repr(float(number)).removesuffix(".0")
