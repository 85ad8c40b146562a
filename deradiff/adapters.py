"""Select the LoRA adapters that a denoiser's forward pass uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

_BASE, _ADDED = ".base_layer.", ".lora_"
"""In names of weights: a layer that has adapters, and what an adapter adds to it."""


def without_adapters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a denoiser's weights under the names that they have without adapters."""
    return {name.replace(_BASE, "."): w for name, w in weights.items() if _ADDED not in name}


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
        self._denoiser, self._names = denoiser, list(names)
        self._users: dict[Any, tuple[list[str], bool]] = {}
        self._trainable: list[tuple[nn.Parameter, bool]] = []
        if names:
            self._require_loaded()
            # peft makes an adapter's weights trainable whenever it enables the adapter.
            self._trainable = [(weight, weight.requires_grad) for weight in denoiser.parameters()]

    def begin(self) -> None:
        """Note which adapters the user has active, to be called before the first `select`.

        Raises:
            ValueError: If an adapter is not loaded any more, or one is fused.
        """
        if not self._names:
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._require_loaded()
        for layer in self._denoiser.modules():
            if isinstance(layer, BaseTunerLayer):
                if layer.merged:
                    raise ValueError(
                        "a LoRA is fused into the denoiser, whose layers then ignore which adapter "
                        "is selected: call unfuse_lora()"
                    )
                self._users[layer] = (list(layer.active_adapters), layer.disable_adapters)

    def select(self, name: str | None) -> None:
        """Use adapter `name` beside those that the user has active, or for None only those."""
        for layer, (active, disabled) in self._users.items():
            kept = [] if disabled else [other for other in active if other not in self._names]
            # A layer ignores the names of adapters that it does not have.
            wanted = kept if name is None else [*kept, name]
            if wanted and list(layer.active_adapters) != wanted:
                layer.set_adapter(wanted)
            if layer.disable_adapters != (not wanted):
                layer.enable_adapters(bool(wanted))

    def end(self) -> None:
        """Restore what the user had active."""
        for layer, (active, disabled) in self._users.items():
            layer.set_adapter(active)
            layer.enable_adapters(not disabled)
        self._users = {}
        for weight, trainable in self._trainable:
            weight.requires_grad_(trainable)

    def _require_loaded(self) -> None:
        loaded = sorted(getattr(self._denoiser, "peft_config", {}))
        if missing := sorted(set(self._names) - set(loaded)):
            raise ValueError(
                f"no adapter named {missing} is loaded in the denoiser, only {loaded}: call "
                "load_lora_weights first"
            )
