"""What one set of weights earns against the mixture at λ*, as its export has measured it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from lamsearch.study.database import Study
from lamsearch.study.manifest import EXPORTS_FACT

Verdict = Literal["equal", "different", "undecided"]


def equality(interval: tuple[float, float], epsilon: float) -> Verdict:
    """Return whether the whole interval of a difference lies within ±ε, outside of it, or neither.

    Args:
        interval: 95 % interval of the difference.
        epsilon: Difference within which two things count as equal.
    """
    low, high = interval
    if -epsilon <= low and high <= epsilon:
        return "equal"
    return "different" if low > epsilon or high < -epsilon else "undecided"


@dataclass(frozen=True)
class ExportDifference:
    """An export of a study less the exact mixture at the same λ, on the same images.

    Attributes:
        form: "merged" weights or a "lora".
        lam: λ.
        difference: Mean paired difference of the reward.
        stderr: Its standard error.
        interval: Its 95 % interval.
        images: Number of images.
        epsilon: Difference within which the two count as equal.
    """

    form: Literal["merged", "lora"]
    lam: float
    difference: float
    stderr: float
    interval: tuple[float, float]
    images: int
    epsilon: float

    @property
    def is_equal(self) -> bool:
        """Whether it earns what the mixture does, within ε."""
        return equality(self.interval, self.epsilon) == "equal"


_STORED = TypeAdapter(dict[str, ExportDifference])


def remember_export(study: Study, found: ExportDifference) -> None:
    """Store what an export was measured to earn, in the place of an earlier one that is like it."""
    study.remember(EXPORTS_FACT, {**_stored(study), f"{found.form} {found.lam:.6f}": asdict(found)})


def recalled_export(study: Study, lam: float) -> ExportDifference | None:
    """Return the export at λ that is best known to earn what the mixture does, None without one."""
    # λ* differs in its last digits from processor to processor.
    measured = _STORED.validate_python(_stored(study)).values()
    at_lam = [each for each in measured if round(each.lam, 6) == round(lam, 6)]
    return max(at_lam, key=lambda each: (each.is_equal, each.form == "merged"), default=None)


def _stored(study: Study) -> dict[str, object]:
    """Return what is stored, empty where that is something else."""
    stored = study.recall(EXPORTS_FACT)
    try:
        _STORED.validate_python(stored)
    except ValidationError:
        return {}
    return dict(stored)
