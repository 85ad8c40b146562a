"""All checks of an installation, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import Settings, find_settings, load_settings
from lamsearch.doctor.check import Check, Diagnosis, examined
from lamsearch.doctor.config import DoctorConfig
from lamsearch.doctor.machine import device_check, disk, hub_cache, versions
from lamsearch.doctor.models import anchor_checks, reward_checks
from lamsearch.doctor.storage import storage_checks
from lamsearch.errors import LamsearchError
from lamsearch.evaluation.loading import usable_device
from lamsearch.study.urls import database_file


def diagnose(config: Path | None, storage: str, options: DoctorConfig) -> Diagnosis:
    """Return everything that was found; only Ctrl-C stops it.

    Args:
        config: The settings file; by default the one that a search would take.
        storage: URL of the storage that a search would take.
        options: Options of the checks.
    """
    checks = [*examined("versions", versions)]
    device, found = _device(options)
    checks += found
    checks += examined("hub cache", hub_cache)
    checks += examined("disk", partial(disk, _studies_folder(storage)))
    checks += examined("storage", partial(storage_checks, storage))
    settings, found = _settings(config)
    checks += found
    if settings is not None:
        checks += _models(settings, device, options)
    return Diagnosis(tuple(checks), None if settings is None else _understood(settings))


def _device(options: DoctorConfig) -> tuple[str, list[Check]]:
    """Return the device to check models on, and what was found of the given one."""
    try:
        device = usable_device(options.device)
    except LamsearchError as error:
        return "cpu", [Check("device", "wrong", str(error))]
    return device, list(examined("device", partial(device_check, device)))


def _studies_folder(storage: str) -> Path:
    try:
        file = database_file(storage)
    except Exception:  # no URL at all, which the check of the storage says
        file = None
    return Path("lamsearch-studies") if file is None else file.parent


def _settings(config: Path | None) -> tuple[Settings | None, list[Check]]:
    try:
        settings = load_settings(find_settings(config))
    except LamsearchError as error:
        return None, [Check("settings", "wrong", str(error))]
    return settings, list(examined("settings", partial(_settings_checks, settings)))


def _settings_checks(settings: Settings) -> Iterator[Check]:
    facts = f"{settings.path}: {len(settings.anchors)} anchors, {len(settings.rewards)} rewards"
    if not settings.anchors or not settings.rewards:
        yield Check("settings", "warning", f"{facts}; a search needs one of each")
    elif settings.prompts is None:
        yield Check("settings", "warning", f"{facts}, no prompts: pass --prompts FILE to run")
    else:
        count = len(read_prompts(settings.prompts.file))
        held_out = settings.prompts.heldout
        further = "" if held_out is None else f", {len(read_prompts(held_out))} held out"
        yield Check("settings", "ok", f"{facts}, {count} prompts{further}")


def _models(settings: Settings, device: str, options: DoctorConfig) -> Iterator[Check]:
    for anchor in settings.anchors.values():
        look = partial(anchor_checks, anchor, device, options)
        yield from examined(f"anchor {anchor.name}", look)
    for reward in settings.rewards.values():
        inspect = partial(reward_checks, reward, device, options)
        yield from examined(f"reward {reward.name}", inspect)


def _understood(settings: Settings) -> dict[str, Any]:
    """Return the settings with every default and every path filled in, as JSON."""
    prompts = settings.prompts
    return {
        "file": str(settings.path),
        "description": settings.description,
        "anchors": {
            name: anchor.model_dump(mode="json", exclude={"name"})
            for name, anchor in settings.anchors.items()
        },
        "rewards": {
            name: {"kind": reward.kind, "options": _texts(reward.options)}
            for name, reward in settings.rewards.items()
        },
        "prompts": None if prompts is None else prompts.model_dump(mode="json"),
    }


def _texts(options: Any) -> dict[str, Any]:
    """Return options as JSON: a date, which TOML has and JSON lacks, becomes a text."""
    plain = (str, int, float, bool, type(None))
    return {key: each if isinstance(each, plain) else str(each) for key, each in options.items()}
