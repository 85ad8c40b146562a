"""How λ is searched and answered: the options that images and any function of λ share.

The paper (arXiv 2601.20198, A.5, Algorithm 2) has one noise variance for all evaluations, improves
on the best observed value and answers with it: acquisition "ei", recommend "observed", noise
"homoscedastic". These three together also bring its uniform initial design, its zero mean (of
standardised values) and its RBF kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, model_validator

from lamsearch.config.expressions import Constraint, parse_constraint
from lamsearch.config.fields import Config, Whole, option, value_text
from lamsearch.errors import SettingsError
from lamsearch.plain_text import shown

if TYPE_CHECKING:
    from lamsearch.surrogate.model import Surrogate

Acquisition = Literal["auto", "ei", "ucb", "kg"]
Kernel = Literal["auto", "matern", "rbf"]
Recommend = Literal["posterior", "observed"]
Noise = Literal["paired", "homoscedastic"]

LARGEST_BUDGET = 1_000_000

_LARGEST_BOUND, _LEAST_WIDTH = 1e6, 1e-6
"""Limits of λ: larger or closer values would coincide after rounding."""


@dataclass(frozen=True)
class Tolerance:
    """ε: how much of J may be lost, in the units of the scores or as a share of the curve's range.

    The range is that of the fitted curve at the evaluated λs, which does not grow with the noise.
    """

    amount: float
    relative: bool = True

    @property
    def text(self) -> str:
        """The canonical form, as `parse_tolerance` reads it."""
        return f"{100 * self.amount:g}%" if self.relative else f"{self.amount:g}"

    def __call__(self, surrogate: Surrogate) -> float:
        """Return ε in the units of the scores."""
        if not self.relative:
            return self.amount
        means = surrogate.mean(surrogate.observations.lams)
        return self.amount * (means.max() - means.min()).item()


FIVE_PERCENT = Tolerance(0.05)


def parse_tolerance(epsilon: Any) -> Tolerance | None:
    """Read ε: a number in the units of the scores, or text such as "0.002" or "5%".

    Raises:
        SettingsError: If it is neither, or not above 0.
    """
    if epsilon is None or isinstance(epsilon, Tolerance):
        return epsilon
    text = str(epsilon).strip() if isinstance(epsilon, str | int | float) else ""
    relative = text.endswith("%")
    try:
        amount = float(text.removesuffix("%")) / (100 if relative else 1)
    except ValueError:  # no number, or a whole one of too many digits
        amount = math.nan
    if not (0 < amount < math.inf):
        raise SettingsError(
            f"epsilon {shown(epsilon)} given, expected how much of the score may be lost: a number "
            "above 0, or a share of the curve's range such as 5%"
        )
    return Tolerance(amount, relative)


def checked_seed(seed: Any) -> int:
    """Return the seed as an `int`; everything random in a search depends on it.

    Raises:
        SettingsError: If it is not a whole number from 0 to 2⁶³ − 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**63:
        raise SettingsError(f"seed {value_text(seed)} given, expected 0 to 2⁶³ − 1")
    return int(seed)


def _checked_bounds(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (_number(bound) for bound in bounds)
    except (TypeError, ValueError, OverflowError):
        low, high = math.nan, math.nan
    if not (max(abs(low), abs(high)) <= _LARGEST_BOUND and high - low >= _LEAST_WIDTH):
        given = " ".join(map(value_text, _listed(bounds)))
        raise SettingsError(
            f"bounds {given} given, expected LO < HI: numbers up to "
            f"{_LARGEST_BOUND:g} that differ by {_LEAST_WIDTH:g} or more"
        )
    return low, high


def _number(bound: Any) -> float:
    """Return a bound; text is none, though `float` would read it."""
    if isinstance(bound, str | bytes | bool):
        raise TypeError
    return float(bound)


def _listed(bounds: Any) -> list[Any]:
    return list(bounds[:3]) if isinstance(bounds, list | tuple) else [bounds]


def _parsed_constraint(constraint: Any) -> Constraint | None:
    if constraint is None or isinstance(constraint, Constraint):
        return constraint
    if not isinstance(constraint, str):
        raise SettingsError(
            f"constraint {shown(constraint)} given, expected text such as 'clip >= reference'"
        )
    return parse_constraint(constraint)


class SearchConfig(Config):
    """Options of a search over λ; its dump is what the proposals of a study depend on.

    Raises:
        SettingsError: If an option is out of its range.
    """

    budget: Whole = option(
        12,
        "Number of evaluations; with --images auto, of images.",
        group="search",
        metavar="N",
        expected=f"a whole number of at least 1 evaluation, at most {LARGEST_BUDGET:,}",
        ge=1,
        le=LARGEST_BUDGET,
        strict=True,
        exclude=True,
    )
    bounds: Annotated[tuple[float, float], BeforeValidator(_checked_bounds)] = option(
        (0.0, 1.0), "Range of λ; beyond 1 extrapolates.", group="search", metavar="LO HI"
    )
    seed: Annotated[int, BeforeValidator(checked_seed)] = option(
        0, "Seed of the image plan and the initial design.", group="search", metavar="S"
    )
    acquisition: Acquisition = option(
        "auto",
        "What proposes the next λ: expected improvement, upper confidence bound or knowledge "
        "gradient, which is what auto takes.",
        group="search",
    )
    kernel: Kernel = option(
        "auto",
        "Kernel of the surrogate; auto takes rbf for the paper's Algorithm 2, else matern.",
        group="search",
    )
    recommend: Recommend = option(
        "posterior",
        "Answer by the posterior mean, or as the paper does by the best observed evaluation.",
        group="search",
    )
    noise: Noise = option(
        "paired",
        "Noise of the mean scores: estimated from paired images, or as in the paper one unknown "
        "variance.",
        group="search",
    )
    epsilon: Annotated[Tolerance | None, BeforeValidator(parse_tolerance)] = option(
        None,
        "Stop once λ* is within E of the best, in units of the reward or as 5% of the curve's "
        "range.",
        group="search",
        metavar="E",
        exclude=True,
    )
    constraint: Annotated[
        Constraint | None,
        BeforeValidator(_parsed_constraint),
        PlainSerializer(lambda c: None if c is None else c.text),
    ] = option(
        None,
        'Constraint on another reward, such as "clip >= -1% of reference"; λ* is searched where '
        "it holds.",
        group="guards",
        metavar="TEXT",
    )
    confidence: float = option(
        0.95,
        "Probability required of the constraint and of --epsilon.",
        group="guards",
        metavar="P",
        expected="0 < P < 1",
        gt=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _reference_is_within_the_bounds(self) -> SearchConfig:
        guard, (low, high) = self.constraint, self.bounds
        if guard is not None and guard.level is None and not low <= 0 <= high:
            raise SettingsError(
                f"constraint '{guard.text}' compares with λ = 0, which the bounds {low:g} {high:g} "
                f"leave out: widen them, or give a level, such as '{guard.name} >= 0.35'"
            )
        return self

    @property
    def is_algorithm_2(self) -> bool:
        """Whether the options are those of the paper's Algorithm 2."""
        return (self.acquisition, self.recommend, self.noise) == ("ei", "observed", "homoscedastic")

    @property
    def answers_observed(self) -> bool:
        """Whether the answer is the best evaluation as it stands."""
        return self.recommend == "observed"

    @property
    def kernel_name(self) -> str:
        """The kernel that `auto` stands for."""
        if self.kernel != "auto":
            return self.kernel
        return "rbf" if self.is_algorithm_2 else "matern"

    def manifest(self, beta: float | None) -> dict[str, Any]:
        """Return what a study's proposals depend on, as JSON; budget and ε may change."""
        facts = {**self.model_dump(mode="json"), "kernel": self.kernel_name}
        if self.constraint is None:
            del facts["constraint"], facts["confidence"]
        return {"beta": None if beta is None else float(beta), **facts}

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> SearchConfig:
        """Return the options that a study's manifest holds."""
        return cls.select(manifest)
