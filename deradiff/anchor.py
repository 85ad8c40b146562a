"""Anchors: an aligned model together with its reference and the KL strength β of its alignment."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoModel, DiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deradiff.gaussian import Lam
from deradiff.realignment import LamSchedule, Realignment, denoiser_name, realign

_ADAPTER = "aligned"
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")


class AnchorError(ValueError):
    """An anchor cannot be loaded, or its aligned model changes nothing."""


@dataclass(frozen=True)
class PipelineOptions:
    """How an anchor's pipeline is loaded; None means as the reference pipeline is stored.

    Attributes:
        scheduler: Class name of a diffusers scheduler, built from the stored scheduler's config.
        scheduler_config: Settings that override that config.
        vae: Path or hub id of another VAE.
        dtype: Of all weights: "float32", "float16" or "bfloat16".
        variant: Variant of the reference's weight files, such as "fp16".
        use_safetensors: False lets pickled weights be loaded too, which can run any code.
    """

    scheduler: str | None = None
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)
    vae: str | None = None
    dtype: str = "float32"
    variant: str | None = None
    use_safetensors: bool = True


@dataclass(frozen=True)
class Anchor:
    """A pipeline that holds the reference, the aligned model, and its β.

    Attributes:
        pipe: A stock diffusers pipeline around the reference denoiser.
        aligned: The aligned denoiser, or the name of its LoRA adapter in `pipe`.
        beta: KL strength β > 0 of the alignment.
    """

    pipe: DiffusionPipeline
    aligned: nn.Module | str
    beta: float

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise AnchorError(f"beta = {self.beta}: expected the alignment's KL strength, > 0")

    def realign(self, lam: Lam | LamSchedule = 1.0) -> Realignment:
        """Make `pipe` sample from p[β/λ] until the returned realignment is removed."""
        return realign(self.pipe, self.aligned, lam)

    def effective_beta(self, lam: float) -> float:
        """Return β/λ, the strength that sampling at λ emulates; infinite at λ = 0."""
        return self.beta / lam if lam else float("inf")

    def fingerprint(self) -> str:
        """Return a digest of the denoisers' and the other components' weights."""
        modules = [c for c in self.pipe.components.values() if isinstance(c, nn.Module)]
        if isinstance(self.aligned, nn.Module):
            modules.append(self.aligned)
        return fingerprint(modules)


def load_anchor(
    reference: str | Path,
    aligned: str | Path,
    *,
    beta: float,
    options: PipelineOptions | None = None,
    device: str | torch.device = "cpu",
) -> Anchor:
    """Load an anchor from local paths or hub ids, and make sure that it changes the output.

    Args:
        reference: A pipeline's folder or hub id.
        aligned: A denoiser's folder (or one with `unet/` or `transformer/` in it), a whole
            pipeline, a LoRA's folder or file, or one .safetensors file of denoiser weights; local
            or, all but single files, on the hub.
        beta: KL strength β > 0 that `aligned` was aligned at.
        options: How the pipeline is loaded.
        device: Where it goes.

    Raises:
        AnchorError: If something is missing, pickled, of another architecture, or if one forward
            pass shows that the aligned model gives just what the reference gives.
    """
    options = options or PipelineOptions()
    pipe = _load_pipeline(str(reference), options).to(device)
    anchor = Anchor(pipe, _load_aligned(pipe, str(aligned), options), beta)
    _require_effect(anchor, str(aligned))
    return anchor


def fingerprint(modules: Sequence[nn.Module]) -> str:
    """Return a digest of names, shapes, types and evenly spaced values of the modules' weights.

    At most 127 values of each tensor are read, so it costs little even for large models on a GPU;
    any training or conversion changes it.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, weight in module.state_dict().items():
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            values = weight.detach().flatten()
            picked = values[:: max(1, len(values) // 64)]
            digest.update(picked.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()[:16]


def _load_pipeline(reference: str, options: PipelineOptions) -> DiffusionPipeline:
    dtype, safe = getattr(torch, options.dtype), _only_safe(options)
    extra: dict[str, Any] = {"variant": options.variant} if options.variant else {}
    try:
        if options.vae:
            extra["vae"] = AutoModel.from_pretrained(options.vae, dtype=dtype, use_safetensors=safe)
        pipe = DiffusionPipeline.from_pretrained(
            reference, dtype=dtype, use_safetensors=safe, **extra
        )
    except (OSError, ValueError) as error:
        raise AnchorError(
            f"reference {reference}: cannot be loaded: {_first_line(error)}"
        ) from error
    if options.scheduler or options.scheduler_config:
        scheduler = getattr(diffusers, options.scheduler or type(pipe.scheduler).__name__)
        _require_known_config(scheduler, options.scheduler_config)
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **options.scheduler_config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _load_aligned(
    pipe: DiffusionPipeline, aligned: str, options: PipelineOptions
) -> nn.Module | str:
    """Return the aligned denoiser, or the name of the adapter that was added to the pipeline."""
    name = denoiser_name(pipe)
    reference: Any = getattr(pipe, name)
    path = Path(aligned)
    if path.suffix in _PICKLES and options.use_safetensors:
        raise AnchorError(
            f"aligned {aligned}: is pickled and may run any code: convert it to .safetensors, or "
            "set use_safetensors = false if you trust it"
        )
    try:
        if path.is_file():
            return _load_file(pipe, reference, path, options)
        folder = path if path.is_dir() else Path(_hub_structure(aligned))
        if (folder / name / "config.json").is_file():
            place = {"subfolder": name}
        elif (folder / "config.json").is_file():
            place = {}
        else:
            return _load_lora(pipe, aligned, options)
        denoiser = type(reference).from_pretrained(
            aligned, dtype=reference.dtype, use_safetensors=_only_safe(options), **place
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, SingleFileComponentError) as error:
        raise AnchorError(f"aligned {aligned}: cannot be loaded: {_first_line(error)}") from error
    return _freeze(denoiser, reference)


def _hub_structure(repository: str) -> str:
    """Return a local folder with the small files of a hub repository, which show what it holds."""
    return snapshot_download(repository, allow_patterns=["*.json"])


def _only_safe(options: PipelineOptions) -> bool | None:
    # diffusers' False refuses safetensors; None prefers them and takes pickles where there are none
    return True if options.use_safetensors else None


def _require_known_config(scheduler: Any, config: Mapping[str, Any]) -> None:
    """Raise for a setting that diffusers would silently ignore."""
    known = [name for name in inspect.signature(scheduler.__init__).parameters if name != "self"]
    for key in config:
        if key not in known:
            raise AnchorError(
                f"scheduler_config {key!r} given, but {scheduler.__name__} takes {', '.join(known)}"
            )


def _load_file(
    pipe: DiffusionPipeline, reference: Any, path: Path, options: PipelineOptions
) -> nn.Module | str:
    pickled = path.suffix in _PICKLES
    weights = (
        torch.load(path, map_location="cpu", weights_only=True) if pickled else load_file(path)
    )
    if any("lora" in key for key in weights):
        return _load_lora(pipe, str(path), options)
    if weights.keys() == reference.state_dict().keys():
        denoiser = type(reference).from_config(reference.config)
        denoiser.load_state_dict(weights)
        return _freeze(denoiser.to(reference.dtype), reference)
    denoiser = type(reference).from_single_file(
        str(path), config=reference.config._name_or_path, dtype=reference.dtype
    )
    return _freeze(denoiser, reference)


def _load_lora(pipe: DiffusionPipeline, source: str, options: PipelineOptions) -> str:
    pipe.load_lora_weights(source, adapter_name=_ADAPTER, use_safetensors=_only_safe(options))
    others = [c for c, names in pipe.get_list_adapters().items() if c != denoiser_name(pipe)]
    if others:
        raise ValueError(
            f"this LoRA also changes {', '.join(others)}, which realignment cannot mix: use one "
            f"for the {denoiser_name(pipe)} alone"
        )
    return _ADAPTER


def _freeze(denoiser: nn.Module, reference: Any) -> nn.Module:
    return denoiser.to(reference.device).eval().requires_grad_(False)


def _require_effect(anchor: Anchor, source: str) -> None:
    """Raise unless one denoising step differs between reference and aligned."""
    # Twice the reference: some kernels on a GPU do not repeat themselves exactly.
    first, again, aligned = (_one_step(anchor, lam, source) for lam in (0.0, 0.0, 1.0))
    if not bool(aligned.isfinite().all()):
        raise AnchorError(
            f"aligned {source}: its output is not finite: check its weights, or use another dtype"
        )
    if (aligned - first).abs().max() <= (again - first).abs().max():
        raise AnchorError(
            f"aligned {source}: gives exactly the reference's output, so it changes nothing: check "
            "that it is not the reference itself, nor a LoRA of another architecture"
        )


def _one_step(anchor: Anchor, lam: float, source: str) -> Tensor:
    with anchor.realign(lam):
        generator = torch.Generator().manual_seed(0)
        try:
            output = anchor.pipe(
                "a photo", num_inference_steps=1, generator=generator, output_type="latent"
            )
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise AnchorError(
                f"aligned {source}: its forward pass fails ({_first_line(error)}): it does not fit "
                "the reference's architecture"
            ) from error
    latents: Tensor = output[0]
    return latents.float()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
