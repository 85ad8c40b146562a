"""The configuration beside a denoiser's weights: two with the same weights may compute otherwise.

The number of heads, an activation or the flip of a sine is no weight, so weights alone fit a
denoiser that is another function.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from diffusers.models.model_loading_utils import _CLASS_REMAPPING_DICT
from diffusers.training_utils import EMAModel

from deradiff.formats.sources import Source
from deradiff.formats.weights import some
from deradiff.options import AnchorError

# What diffusers' averages of weights write into the configuration of the model they average.
_AVERAGING = {*inspect.signature(EMAModel.__init__).parameters, "optimization_step"}


def read_config(source: Source) -> dict[str, Any]:
    """Return the configuration in a folder; empty if it has none.

    Raises:
        AnchorError: If its `config.json` is no JSON object.
    """
    if not source.has("config.json"):
        return {}
    file = source.fetch(["config.json"]) / "config.json"
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise AnchorError(f"the config.json beside it is no JSON ({error})") from error
    if not isinstance(config, dict):
        raise AnchorError("the config.json beside it is no JSON object")
    return config


def config_beside(source: Source, reference: Any) -> Mapping[str, Any] | None:
    """Return the configuration that lies beside a denoiser's weights, or None if none does.

    Raises:
        AnchorError: If it is that of another denoiser, or unclear whether it is one.
    """
    config = read_config(source)
    if "_class_name" in config:
        require_fitting_config(reference, config)
        return config
    # Configurations of other libraries, such as peft's or transformers', share no setting.
    ours = json.loads(json.dumps(dict(reference.config), default=str))  # tuples become lists
    if differing := sorted(n for n in config.keys() & ours.keys() if config[n] != ours[n]):
        raise AnchorError(
            f"the config.json beside it does not name a class, and its {some(differing)} "
            f"{'differs' if len(differing) == 1 else 'differ'} from the reference's: add the "
            f'"_class_name" if it describes this denoiser, else move it away'
        )
    return None


def require_fitting_config(reference: Any, config: Mapping[str, Any]) -> None:
    """Raise AnchorError unless a configuration is one that the reference's class can take.

    Args:
        reference: The reference's denoiser.
        config: The configuration, which names its class.
    """
    expected, given = type(reference).__name__, config["_class_name"]
    if expected not in (given, _present_name(given, config)):
        raise AnchorError(f"is a {given}, but the reference's denoiser is a {expected}")
    if config.get("quantization_config"):
        raise AnchorError(
            "is quantized (quantization_config in its config.json): dequantize it, and take that "
            "entry out"
        )
    # diffusers ignores settings that it does not know, and a null or false one is switched off.
    known = {*inspect.signature(type(reference).__init__).parameters, *_AVERAGING}
    unknown = sorted(
        name
        for name, value in config.items()
        if not name.startswith("_")
        and name not in known
        and value not in (None, False)
        and value != reference.config.get(name)
    )
    if unknown:
        raise AnchorError(
            f"its config.json sets {some(unknown)}, which the installed diffusers' {expected} does "
            "not know: upgrade diffusers, or remove the setting if it changes nothing"
        )
    # The reference's pipeline gives what the reference's own denoiser takes.
    name = "time_cond_proj_dim"
    ours, theirs = reference.config.get(name), config.get(name)
    if ours != theirs:
        raise AnchorError(
            f"{name} differs: the reference has {ours}, the aligned model {theirs}, so that only "
            "one of them is given the guidance scale: choose the reference it was aligned from"
        )


def _present_name(given: str, config: Mapping[str, Any]) -> str | None:
    """Return the class that diffusers now loads for one of its former classes, or None."""
    name: str | None = _CLASS_REMAPPING_DICT.get(given, {}).get(config.get("norm_type"))
    return name
