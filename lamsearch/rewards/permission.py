"""Whether a reward's own code may run: settings may come from a stranger."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from lamsearch.config.settings import ENTRY_POINT_GROUP, RewardSettings
from lamsearch.errors import SettingsError
from lamsearch.plain_text import shortened


def require_permission(settings: RewardSettings, *, allow_code: bool) -> None:
    """Refuse `module:attribute` of the settings, unless it is allowed or installed as a reward.

    Raises:
        SettingsError: If it is neither; the message says what would run.
    """
    if allow_code or ":" not in settings.kind or installed_as(settings.kind) is not None:
        return
    raise SettingsError(
        f"reward '{shortened(settings.name)}' would run {shortened(settings.kind)}, which the "
        f"settings in {settings.folder} name: if you trust them, allow it with --allow-code, or "
        "allow_code=True in Python"
    )


def installed_as(kind: str) -> EntryPoint | None:
    """Return the installed entry point that is this `module:attribute`, None if there is none."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    return next((each for each in found if each.value == kind), None)
