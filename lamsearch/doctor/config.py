"""Options of `lamsearch doctor`."""

from __future__ import annotations

from lamsearch.config.fields import option
from lamsearch.evaluation.config import ModelsConfig


class DoctorConfig(ModelsConfig):
    """Options of the checks.

    Raises:
        SettingsError: If an option is out of its range.
    """

    quick: bool = option(
        False,
        "Leave out what takes long: no model is loaded.",
        group="search",
        strict=True,
    )
