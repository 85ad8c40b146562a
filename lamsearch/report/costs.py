"""What alignments and GPU-hours cost: the options of `lamsearch advise`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from lamsearch.config.fields import Config, option, value_text
from lamsearch.errors import SettingsError

_HOURS = {"minute": 1 / 60, "min": 1 / 60, "hour": 1.0, "h": 1.0, "day": 24.0, "d": 24.0}
_COST = re.compile(
    r"(?P<amount>\d+(?:[.]\d*)?(?:e[+-]?\d+)?)\s*(?:gpu[\s-]*)?(?P<unit>minute|min|hour|h|day|d)?s?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GpuHours:
    """Time of one GPU.

    Attributes:
        hours: Above 0.
    """

    hours: float

    @property
    def text(self) -> str:
        """The canonical form, as `parse_gpu_hours` reads it."""
        return f"{self.hours:g} GPU-hours"


def parse_gpu_hours(cost: Any) -> GpuHours | None:
    """Return the time in a text such as "336 GPU-hours", "14 GPU-days" or "336".

    Raises:
        SettingsError: If it is no such text, or not above 0.
    """
    if cost is None or isinstance(cost, GpuHours):
        return cost
    found = _COST.fullmatch(str(cost).strip())
    hours = float(found["amount"]) * _HOURS[(found["unit"] or "h").lower()] if found else math.nan
    if not 0 < hours < math.inf:
        raise SettingsError(
            f"alignment cost {value_text(cost)} given, expected GPU-hours above 0, such as "
            '"336 GPU-hours" or "14 GPU-days"'
        )
    return GpuHours(hours)


class CostsConfig(Config):
    """What the reader of an advice pays.

    Raises:
        SettingsError: If an option is out of its range.
    """

    alignment_cost: Annotated[GpuHours | None, BeforeValidator(parse_gpu_hours)] = option(
        None,
        'What one alignment costs, such as "336 GPU-hours" or "14 GPU-days".',
        group="costs",
        metavar="TIME",
    )
    price: float | None = option(
        None,
        "Price of one GPU-hour, in whatever currency.",
        group="costs",
        metavar="AMOUNT",
        gt=0,
        allow_inf_nan=False,
        expected="a number above 0",
    )

    def price_of(self, gpu_hours: float | None) -> float | None:
        """Return the price of GPU-hours, None where either is unknown."""
        return None if self.price is None or gpu_hours is None else self.price * gpu_hours
