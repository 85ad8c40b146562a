"""The hook on a denoiser: its forward pass is ours, whatever else wraps it earlier or later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

from deradiff.mixing import InexactMixtureError

_NAME = "deradiff.realignment"

Forward = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""Takes the positional and the keyword arguments of a forward pass, and returns its output."""


class DenoiserHook:
    """Replaces the forward pass of a denoiser until it is removed.

    Args:
        denoiser: The denoiser.
        forward: What to call instead of its own forward pass.
    """

    def __init__(self, denoiser: nn.Module, forward: Forward) -> None:
        self._denoiser, self._hook = denoiser, _Hook(forward)
        self._had_hooks = _hooks_of(denoiser) is not None
        self._had_forward = "forward" in vars(denoiser)
        hooks = HookRegistry.check_if_exists_or_initialize(denoiser)
        hooks.register_hook(self._hook, _NAME)
        self._hook.fn_ref.__class__ = _KeptReference
        self._forward = denoiser.forward

    @staticmethod
    def is_on(denoiser: nn.Module) -> bool:
        """Return whether a denoiser has such a hook."""
        hooks = _hooks_of(denoiser)
        return hooks is not None and hooks.get_hook(_NAME) is not None

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the denoiser's own forward pass."""
        return self._hook.fn_ref.original_forward(*args, **kwargs)

    def require_attached(self) -> None:
        """Make sure that the denoiser's forward pass is ours.

        Raises:
            InexactMixtureError: If other code has replaced it.
        """
        if not self._is_attached() and not self._reattach():
            raise InexactMixtureError(
                "other code has replaced the denoiser's forward since it was realigned: take that "
                "off, or realign once it is there"
            )

    @property
    def is_offloaded(self) -> bool:
        """Whether the denoiser's weights are on its device only while it runs."""
        hooks = _hooks_of(self._denoiser)
        in_groups = hooks is not None and hooks.get_hook("group_offloading") is not None
        return in_groups or "_hf_hook" in vars(self._denoiser)

    def remove(self) -> None:
        """Restore the denoiser's own forward pass."""
        denoiser, hooks = self._denoiser, _hooks_of(self._denoiser)
        if hooks is None or hooks.get_hook(_NAME) is not self._hook:
            return
        # Code that wrapped our forward later, such as accelerate's offloading, still calls it.
        self._hook.active = False
        if vars(denoiser).get("forward") is not self._forward:
            return
        hooks.remove_hook(_NAME, recurse=False)
        if not self._had_forward and not hooks.hooks:
            del denoiser.forward
        if not self._had_hooks and not hooks.hooks:
            del denoiser._diffusers_hook

    def _is_attached(self) -> bool:
        """Return whether our forward is called, maybe by code that wrapped it later."""
        own = vars(self._denoiser)
        if self._forward in (own.get("forward"), own.get("_old_forward")):
            return True
        hooks = _hooks_of(self._denoiser)
        return hooks is not None and hooks._hook_order[-1:] != [_NAME]

    def _reattach(self) -> bool:
        """Come back under accelerate's hook, which offloading takes off and puts on in every call.

        It then wraps the denoiser's own forward again: what it found when it came.
        """
        own = vars(self._denoiser)
        wrapped = own.get("_old_forward")
        if (
            "_hf_hook" not in own
            or getattr(wrapped, "__func__", None) is not type(self._denoiser).forward
        ):
            return False
        self._hook.fn_ref.original_forward = wrapped
        self._denoiser._old_forward = self._forward  # type: ignore[assignment]
        return True


class _Hook(ModelHook):  # type: ignore[misc]
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.active = True
        self._replacement = forward

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not self.active:
            return self.fn_ref.original_forward(*args, **kwargs)
        return self._replacement(args, kwargs)


class _KeptReference:
    """diffusers' record of our hook, whose forward stays ours.

    A hook that was there before ours and takes itself off, as group offloading's does that learns
    the order of the layers, would put the denoiser's own forward in the place of ours
    (its `remove_hook`). It belongs below it.
    """

    original_forward: Callable[..., Any]

    @property
    def forward(self) -> Callable[..., Any]:
        mine: Callable[..., Any] = vars(self)["forward"]
        return mine

    @forward.setter
    def forward(self, below: Callable[..., Any]) -> None:
        self.original_forward = below


def _hooks_of(denoiser: nn.Module) -> Any:
    return getattr(denoiser, "_diffusers_hook", None)
