"""Select the LoRA adapter that a denoiser's forward pass uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


class Adapters:
    """The LoRA layers of a denoiser.

    Args:
        denoiser: The denoiser that the adapters are loaded in.
        names: Names of the adapters to select from; if there are none, the denoiser is left alone.

    Raises:
        ValueError: If an adapter is not loaded in the denoiser.
    """

    def __init__(self, denoiser: nn.Module, names: Sequence[str]) -> None:
        if not names:
            self._layers: list[tuple[Any, list[str], bool]] = []
            self._trainable: list[tuple[nn.Parameter, bool]] = []
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        missing = set(names) - set(getattr(denoiser, "peft_config", {}))
        if missing:
            raise ValueError(
                f"no adapter named {sorted(missing)} is loaded in the denoiser, only "
                f"{sorted(getattr(denoiser, 'peft_config', {}))}: call load_lora_weights first"
            )
        self._layers = [
            (layer, list(layer.active_adapters), layer.disable_adapters)
            for layer in denoiser.modules()
            if isinstance(layer, BaseTunerLayer)
        ]
        # peft makes an adapter's weights trainable whenever it enables the adapter.
        self._trainable = [(weight, weight.requires_grad) for weight in denoiser.parameters()]

    def select(self, name: str | None) -> None:
        """Use adapter `name` from now on, or for None the base weights alone."""
        for layer, _, _ in self._layers:
            if name is not None and list(layer.active_adapters) != [name]:
                layer.set_adapter([name])
            if layer.disable_adapters != (name is None):
                layer.enable_adapters(name is not None)

    def restore(self) -> None:
        """Restore every layer to its initial state."""
        for layer, active, disabled in self._layers:
            layer.set_adapter(active)
            layer.enable_adapters(not disabled)
        for weight, trainable in self._trainable:
            weight.requires_grad_(trainable)
