"""Load the reward that settings describe: built in, `module:attribute`, or an entry point."""

import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamsearch.config.settings import BUILT_IN_REWARDS, ENTRY_POINT_GROUP, RewardSettings
from lamsearch.errors import RewardError
from lamsearch.rewards.base import CheckedReward, as_reward
from lamsearch.rewards.foreign_code import blamed_on
from lamsearch.rewards.permission import installed_as, require_permission

if TYPE_CHECKING:
    import torch

_BUILT_IN = {
    "pickscore": ("pickscore", "PickScoreReward"),
    "clip": ("clip", "CLIPReward"),
    "hps": ("hps", "HPSReward"),
    "aesthetic": ("aesthetic", "AestheticReward"),
    "http": ("http", "HTTPReward"),
}


def load_reward(
    settings: RewardSettings, device: "str | torch.device" = "cpu", *, allow_code: bool = False
) -> CheckedReward:
    """Load a reward onto a device.

    A class or function is called with the settings' options as keyword arguments, and with
    `device` if it has such a parameter; an object with a `score` method is used as it is.

    Args:
        settings: The reward's table of the settings file.
        device: Where the reward's models run.
        allow_code: Whether a `module:attribute` may run that is no installed entry point.

    Raises:
        SettingsError: If it may not.
        RewardError: If it cannot be found, loaded or called with these options, or its code raises
            anything but a `KeyboardInterrupt`.
    """
    require_permission(settings, allow_code=allow_code)
    with blamed_on(settings.name, "while it was loaded"):
        return _loaded(settings, device)


def default_model(kind: str) -> str | None:
    """Return the hub id that a built-in reward loads by default, None where it loads none."""
    if kind not in BUILT_IN_REWARDS:
        return None
    parameter = inspect.signature(_built_in(kind)).parameters.get("model")
    return None if parameter is None else str(parameter.default)


def _loaded(settings: RewardSettings, device: "str | torch.device") -> CheckedReward:
    target = _target(settings)
    if hasattr(target, "score") and not isinstance(target, type):
        if settings.options:
            keys = ", ".join(settings.options)
            raise RewardError(f"reward '{settings.name}' is an object, it takes no options: {keys}")
        return as_reward(target, settings.name)
    if not callable(target):
        raise RewardError(
            f"reward '{settings.name}': {target!r} is not a class, function or reward"
        )
    return as_reward(_call(target, settings, device=device), settings.name)


def _target(settings: RewardSettings) -> Any:
    if settings.kind in BUILT_IN_REWARDS:
        return _built_in(settings.kind)
    if (installed := installed_as(settings.kind)) is not None:
        return installed.load()
    if ":" in settings.kind:
        return _attribute(settings)
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=settings.kind)
    for entry_point in found:
        return entry_point.load()
    raise RewardError(f"reward '{settings.name}': no entry point '{settings.kind}' is installed")


def _built_in(kind: str) -> Any:
    # Imported only when needed: transformers takes seconds to import.
    module_name, class_name = _BUILT_IN[kind]
    return getattr(importlib.import_module(f"lamsearch.rewards.{module_name}"), class_name)


def _attribute(settings: RewardSettings) -> Any:
    module_name, _, attribute = settings.kind.partition(":")
    try:
        with _importable(settings.folder):
            target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        where = f"beside the settings file in {settings.folder} or installed"
        problem = f"cannot load '{settings.kind}': {error}; expected it {where}"
        raise RewardError(f"reward '{settings.name}': {problem}") from error
    return target


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Make modules beside the settings file importable; installed ones take precedence."""
    entry = str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _call(
    target: Callable[..., Any], settings: RewardSettings, *, device: "str | torch.device"
) -> Any:
    parameters = inspect.signature(target).parameters
    options = dict(settings.options)
    if "device" in parameters:
        options.setdefault("device", device)
    try:
        inspect.signature(target).bind(**options)
    except TypeError as error:
        takes = ", ".join(parameters) or "none"
        problem = f"{error} for {settings.kind}; its options are: {takes}"
        raise RewardError(f"reward '{settings.name}': {problem}") from error
    return target(**options)
