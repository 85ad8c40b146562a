"""Select the LoRA adapters that a denoiser's forward pass uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


class Adapters:
    """The LoRA layers of a denoiser.

    Adapters that are active at the beginning and not among those to select from, such as a style,
    stay active all the time.

    Args:
        denoiser: The denoiser that the adapters are loaded in.
        names: Names of the adapters to select from; if there are none, the denoiser is left alone.

    Raises:
        ValueError: If an adapter is not loaded in the denoiser.
    """

    def __init__(self, denoiser: nn.Module, names: Sequence[str]) -> None:
        self._denoiser, self._names = denoiser, set(names)
        self._initial: dict[Any, tuple[list[str], bool]] = {}
        self._kept: dict[Any, list[str]] = {}
        self._selected: dict[Any, list[str]] = {}
        self._trainable: list[tuple[nn.Parameter, bool]] = []
        if not names:
            return
        missing = self._names - set(getattr(denoiser, "peft_config", {}))
        if missing:
            raise ValueError(
                f"no adapter named {sorted(missing)} is loaded in the denoiser, only "
                f"{sorted(getattr(denoiser, 'peft_config', {}))}: call load_lora_weights first"
            )
        # peft makes an adapter's weights trainable whenever it enables the adapter.
        self._trainable = [(weight, weight.requires_grad) for weight in denoiser.parameters()]
        self.refresh()

    def refresh(self) -> None:
        """Note which other adapters are active now, as a user may have changed that."""
        if not self._names:
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        for layer in self._denoiser.modules():
            if not isinstance(layer, BaseTunerLayer):
                continue
            self._initial.setdefault(layer, (list(layer.active_adapters), layer.disable_adapters))
            active = _active(layer)
            if active != self._selected.get(layer):
                self._kept[layer] = [name for name in active if name not in self._names]

    def select(self, name: str | None) -> None:
        """Use adapter `name` beside those that stay active, or for None only those."""
        for layer, kept in self._kept.items():
            # A layer ignores the names of adapters that it does not have.
            wanted = kept if name is None else [*kept, name]
            if wanted and list(layer.active_adapters) != wanted:
                layer.set_adapter(wanted)
            if layer.disable_adapters != (not wanted):
                layer.enable_adapters(bool(wanted))
            self._selected[layer] = wanted

    def restore(self) -> None:
        """Restore every layer to its initial state."""
        for layer, (active, disabled) in self._initial.items():
            layer.set_adapter(active)
            layer.enable_adapters(not disabled)
        for weight, trainable in self._trainable:
            weight.requires_grad_(trainable)


def _active(layer: Any) -> list[str]:
    return [] if layer.disable_adapters else list(layer.active_adapters)
