"""Whether the scheduler of a whole aligned pipeline fits the reference's.

What a denoiser predicts and at which noise it was trained stand in the scheduler's configuration,
not in the denoiser. Compared is what the schedulers compute, so their classes may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from deradiff.options import AnchorError

_VAE = ("scaling_factor", "shift_factor", "latent_channels", "latents_mean", "latents_std")
# Settings of flow matching that move its noise, with their defaults.
_FLOW = {
    "num_train_timesteps": 1000,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
    "invert_sigmas": False,
}
# Those that count only where the shift depends on the image's size, as it then does for both.
_DYNAMIC = {
    "base_shift": 0.5,
    "max_shift": 1.15,
    "time_shift_type": "exponential",
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
_EDM = ("num_train_timesteps", "sigma_min", "sigma_max", "sigma_data")
_V_PREDICTION = {"v", "v_prediction"}


def require_same_schedule(reference: Any, aligned: Any, *, chosen: Collection[str] = ()) -> None:
    """Raise AnchorError unless two schedulers describe the same noise and the same prediction.

    Args:
        reference: The scheduler stored with the reference.
        aligned: The scheduler stored with the aligned model.
        chosen: Settings that the user chose for both, which are not compared.
    """
    _require_equal("the kind of noise", _kind(reference), _kind(aligned))
    _require_equal("prediction_type", prediction_type(reference), prediction_type(aligned))
    _require_equal("rescale_betas_zero_snr", _zero_snr(reference), _zero_snr(aligned))
    ours, theirs = (getattr(each, "alphas_cumprod", None) for each in (reference, aligned))
    if not is_flow(reference) and ours is not None and theirs is not None:
        _require_equal_noise(ours, theirs)
    settings = {name: (_setting(reference, name), _setting(aligned, name)) for name in _EDM}
    if _kind(reference) != "EDM":
        settings = _flow_settings(reference, aligned) if is_flow(reference) else {}
    for name, (first, second) in settings.items():
        if name not in chosen:
            _require_equal(name, first, second)
    # A zero terminal SNR needs the first step, with any sampler.
    if _zero_snr(aligned) and "timestep_spacing" not in chosen:
        first, second = (_setting(s, "timestep_spacing") for s in (reference, aligned))
        _require_equal("timestep_spacing", first, second)


def require_same_latents(reference: Any, aligned: Mapping[str, Any]) -> None:
    """Raise AnchorError unless two VAEs have the same latent space, by their configurations."""
    for name in _VAE:
        first, second = getattr(reference, name, None), aligned.get(name)
        _require_equal(f"the VAE's {name}", _plain(first), _plain(second))


def require_markers(
    reference: Any, weights: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Raise AnchorError if a file says that it was trained for another prediction or noise."""
    for name, (ours, stated) in marked(reference, weights, metadata).items():
        _require_equal(name, ours, stated)


def marked(
    reference: Any, weights: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> dict[str, tuple[Any, Any]]:
    """Return what a file says of its training, by setting: the scheduler's value and the file's."""
    said = metadata.get("modelspec.prediction_type", "").lower()
    is_v = "v_pred" in weights or said in _V_PREDICTION
    is_v = is_v or metadata.get("ss_v_parameterization", "").lower() == "true"
    found: dict[str, tuple[Any, Any]] = {}
    if is_v or said in ("epsilon", "eps"):
        stated = "v_prediction" if is_v else "epsilon"
        found["prediction_type"] = (prediction_type(reference), stated)
    if "ztsnr" in weights or metadata.get("ss_zero_terminal_snr", "").lower() == "true":
        found["rescale_betas_zero_snr"] = (_zero_snr(reference), True)
    return found


def is_flow(scheduler: Any) -> bool:
    """Return whether a scheduler is one of flow matching, whose noise is linear in its time."""
    has_betas = "beta_start" in scheduler.config or "beta_schedule" in scheduler.config
    predicts = str(_setting(scheduler, "prediction_type") or "")
    uses_flow = bool(_setting(scheduler, "use_flow_sigmas"))
    return not has_betas or predicts.startswith("flow") or uses_flow


def prediction_type(scheduler: Any) -> str:
    """Return what the denoiser of this scheduler predicts: "epsilon", "v_prediction" or "flow"."""
    stated = str(_setting(scheduler, "prediction_type") or "")
    if stated and not stated.startswith("flow"):
        return stated
    return "flow" if is_flow(scheduler) else "epsilon"


def _zero_snr(scheduler: Any) -> bool:
    return bool(_setting(scheduler, "rescale_betas_zero_snr"))


def _kind(scheduler: Any) -> str:
    """Return which family of noise a scheduler describes."""
    if "sigma_data" in scheduler.config:
        return "EDM"
    return "flow matching" if is_flow(scheduler) else "diffusion"


def _flow_settings(reference: Any, aligned: Any) -> dict[str, tuple[Any, Any]]:
    """Return the settings to compare of two schedulers of flow matching, by name."""
    both = reference, aligned
    dynamic = all(_setting(each, "use_dynamic_shifting") for each in both)
    wanted = {**_FLOW, **(_DYNAMIC if dynamic else {})}
    values = {n: [each.config.get(n, default) for each in both] for n, default in wanted.items()}
    pairs = {name: (first, second) for name, (first, second) in values.items()}
    return {"shift": (_shift(reference), _shift(aligned)), **pairs}


def _shift(scheduler: Any) -> Any:
    shift = _setting(scheduler, "shift")
    return _setting(scheduler, "flow_shift") if shift is None and is_flow(scheduler) else shift


def _setting(scheduler: Any, name: str) -> Any:
    return scheduler.config.get(name)


def _require_equal_noise(ours: Tensor, theirs: Tensor) -> None:
    if ours.shape != theirs.shape:
        _require_equal("num_train_timesteps", len(ours), len(theirs))
    ours, theirs = ours.double().cpu(), theirs.double().cpu()
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-6):
        step = int((ours - theirs).abs().argmax())
        shown = (f"alphas_cumprod[{step}] = {float(each[step]):.4g}" for each in (ours, theirs))
        _require_equal("the noise schedule", *shown)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _require_equal(name: str, reference: Any, aligned: Any) -> None:
    if reference != aligned:
        raise AnchorError(
            f"{name} differs: the reference has {reference}, the aligned model {aligned}; they "
            "cannot be mixed: choose the reference it was aligned from, or, if a stored "
            "configuration is wrong, give the denoiser's folder alone"
        )
