"""A guard on the search: another reward G must not fall, and how sure it is that it does not.

| symbol | code | meaning | shape |
|---|---|---|---|
| G(λ) | `guard` | mean of the guarded reward on the same images: a surrogate of its own | |
| a, b | `factor`, `bound` | the constraint as one inequality, G(λ) − a·G(0) ≥ b | numbers |
| m, k | `means`, ... | each member's posterior mean and covariance of G | (U, g) |
| w | `weights` | of the members, the sets of hyperparameters | (U,) |
| v | `offset_variance` | of the offset that all values of the guard share | number |
| c | `shared` | covariance of the member's error with that offset | (U, g) |

    P(λ) = Σ w Φ((m(λ) − a·m(0) − b)/s)
    s² = k(λ,λ) − 2a·k(λ,0) + a²·k(0,0) + (1 − a)²·v + 2(1 − a)(c(λ) − a·c(0))

The offset cancels in a difference to the reference (a = 1) but not in an absolute level (a = 0).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lamsearch.config.expressions import NUMBER, decimal
from lamsearch.errors import SettingsError
from lamsearch.surrogate.model import Surrogate, fit_surrogate
from lamsearch.surrogate.observations import observe

_FORM = re.compile(
    rf"""\s*(?P<name>[^\s<>=≥≤][^<>=≥≤]*?)\s* (?:>=|≥) \s*(?:
        (?P<percent>[+-]?{NUMBER})\s*%\s*of\s+(?:the\s+)?reference
        | reference(?:\s*(?P<sign>[+-])\s*(?P<difference>{NUMBER}))?
        | (?P<level>[+-]?{NUMBER})
    )\s*""",
    re.VERBOSE,
)
_LARGEST_PERCENT = 50.0
_TRACE = 1e-9


@dataclass(frozen=True)
class Constraint:
    """G(λ) ≥ G(0) + percent/100·|G(0)| + difference; or G(λ) ≥ level, where a level is given.

    Attributes:
        name: Of the reward G.
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
        """Whether λ = 0 meets it by definition."""
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
        SettingsError: If the text is nothing of the kind.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"constraint {text!r} given, expected 'NAME >= -1% of reference', "
            "'NAME >= reference - 0.01' or 'NAME >= 0.35'"
        )
    name, percent, sign, difference, level = match.groups()
    if percent is not None and float(percent) >= _LARGEST_PERCENT:
        raise SettingsError(
            f"constraint {text!r} asks for a change of {float(percent):+g} %: the percentage is "
            "the change against the reference, so that '-1% of reference' lets it fall by 1 %"
        )
    return Constraint(
        name,
        percent=float(percent or 0),
        difference=float((sign or "") + (difference or "0")),
        level=None if level is None else float(level),
    )


def guard_surrogate(
    lams: Sequence[float], scores: Sequence[ArrayLike], *, bounds: tuple[float, float]
) -> Surrogate | None:
    """Fit the surrogate of a reward that may lack scores at some λs.

    Args:
        lams: n evaluated λs.
        scores: n evaluations, as `observe` takes them; those without any score are left out.
        bounds: λ's range.

    Returns:
        The surrogate, or None if there is no score at all.
    """
    scored = [(lam, row) for lam, row in zip(lams, scores, strict=True) if not np.isnan(row).all()]
    if not scored:
        return None
    observations = observe([lam for lam, _ in scored], [row for _, row in scored])
    return fit_surrogate(observations, bounds=bounds)


def feasibility(guard: Surrogate, constraint: Constraint) -> Callable[[Tensor], Tensor]:
    """Return the function λs (g,) → posterior probability (g,) that the constraint holds there.

    Args:
        guard: Surrogate of the guarded reward.
        constraint: On that reward.
    """
    origin = torch.zeros(1, dtype=torch.float64)
    reference, reference_variance = guard.marginals(origin)
    factor, bound = constraint.inequality(guard.mean(origin).item())
    reference_shared = guard.offset_covariance(origin)
    left = 1 - factor  # of the offset

    def probability(lams: Tensor) -> Tensor:
        means, variances = guard.marginals(lams)
        together = guard.members(lams, origin)[1].squeeze(-1)
        spread = variances - 2 * factor * together + factor**2 * reference_variance
        shared = guard.offset_covariance(lams) - factor * reference_shared
        spread += left**2 * guard.observations.offset_variance + 2 * left * shared
        z = (means - factor * reference - bound) / spread.clamp_min(0).sqrt()
        # Without any uncertainty left it holds or does not, Φ(±∞); and 0/0 is 0 ≥ 0.
        z = z.nan_to_num(torch.inf, posinf=torch.inf, neginf=-torch.inf)
        # Φ underflows; a trace of a heavier tail still tells which λ is the least hopeless.
        tails = (1 - _TRACE) * torch.special.ndtr(z) + _TRACE * (0.5 + z.atan() / math.pi)
        held: Tensor = guard.weights @ tails
        return held.masked_fill((lams == 0) & constraint.certain_at_reference, 1.0)

    return probability
