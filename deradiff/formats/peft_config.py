"""Which settings of peft's `adapter_config.json` the weights of an adapter can be applied under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deradiff.formats.weights import some
from deradiff.options import AnchorError

# Initialisations that change the base weights, so that the LoRA alone does not say what they are.
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Settings that `lora_scale` reads.
_COUNTED = {"r", "lora_alpha", "alpha", "alpha_pattern", "rank_pattern", "use_rslora"}
# Settings that are over when the weights are saved: the training, and the choice of layers, which
# the keys tell. peft itself ignores `fan_in_fan_out` for linear layers and convolutions.
_OVER = {
    *("task_type", "auto_mapping", "peft_type", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "target_modules", "exclude_modules", "layers_to_transform"),
    *("layers_pattern", "lora_dropout", "rank_dropout", "module_dropout", "rank_dropout_scale"),
    *("init_lora_weights", "init_weights", "eva_config", "corda_config", "loftq_config"),
    *("lora_ga_config", "runtime_config", "megatron_core", "fan_in_fan_out", "use_dora"),
    *("decompose_both", "decompose_factor", "use_effective_conv2d", "qalora_group_size"),
}
# Settings with weights that are no adapter's.
_OTHER_WEIGHTS = ("bias", "lora_bias", "modules_to_save", "trainable_token_indices")
_OFF: tuple[Any, ...] = (None, False, "none", [], {}, ())


def require_supported(config: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise AnchorError if an adapter computes something that its factors and scale do not say.

    Args:
        config: The adapter's configuration.
        keys: The keys of its weights.
    """
    kind = str(config.get("peft_type") or "LORA").upper()
    if kind not in ("LORA", "LOHA", "LOKR"):
        raise AnchorError(f"is a peft adapter of type {kind}, expected LORA, LOHA or LOKR")
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(_CHANGES_THE_BASE):
        raise AnchorError(
            f"was trained with init_lora_weights = {start!r}, which changes the base weights "
            "too: convert it to a plain LoRA with peft's `path_initial_model_for_weight_"
            "conversion`, or merge it into a whole denoiser"
        )
    if config.get("layer_replication"):
        raise AnchorError("replicates layers (layer_replication), which is not supported")
    if others := [name for name in _OTHER_WEIGHTS if config.get(name) not in _OFF]:
        raise AnchorError(
            f"trains other weights than its factors, by the {some(others)} of its configuration: "
            "merge it into a whole denoiser and give that folder"
        )
    has_magnitudes = any("lora_magnitude_vector" in key for key in keys)
    if config.get("use_dora") and not has_magnitudes:
        raise AnchorError(
            "is a DoRA by its configuration (use_dora), but the file holds no magnitudes: save it "
            "again with them"
        )
    known = {*_COUNTED, *_OVER, *_OTHER_WEIGHTS}
    if unknown := [n for n, value in config.items() if n not in known and value not in _OFF]:
        raise AnchorError(
            f"its configuration sets {some(unknown)}, which is not supported: take it out if it "
            "only describes the training, or merge the file into a whole denoiser"
        )
