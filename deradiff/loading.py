"""Load pipelines and aligned models from folders, hub ids, LoRA files and single files."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoModel, DiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from deradiff.options import AnchorError, PipelineOptions, scheduler_class
from deradiff.realignment import denoiser_name

_ADAPTER = "aligned"
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def load_pipeline(reference: str, options: PipelineOptions) -> DiffusionPipeline:
    """Return the reference's pipeline with the scheduler and VAE of the options.

    Args:
        reference: Folder or hub id of a diffusers pipeline.
        options: How to load it.

    Raises:
        AnchorError: If something cannot be loaded, or a scheduler setting is unknown.
    """
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
            f"reference {reference}: cannot be loaded: {first_line(error)}"
        ) from error
    if options.scheduler or options.scheduler_config:
        chosen = scheduler_class(options.scheduler) if options.scheduler else type(pipe.scheduler)
        _require_known_config(chosen, options.scheduler_config)
        pipe.scheduler = chosen.from_config(pipe.scheduler.config, **options.scheduler_config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_aligned(
    pipe: DiffusionPipeline, aligned: str, *, options: PipelineOptions
) -> nn.Module | str:
    """Return the aligned denoiser, or the name of the LoRA adapter added to the pipeline.

    Args:
        pipe: The reference's pipeline.
        aligned: A denoiser's folder, a whole pipeline, a LoRA or a single file, as `load_anchor`
            takes it.
        options: How to load it.

    Raises:
        AnchorError: If it cannot be loaded, or is pickled although `use_safetensors` is set.
    """
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
            return _load_file(pipe, path, options=options)
        folder = path if path.is_dir() else Path(_hub_structure(aligned))
        if (folder / name / "config.json").is_file():
            place = {"subfolder": name}
        elif (folder / "config.json").is_file():
            place = {}
        else:
            return _load_lora(pipe, aligned, options=options)
        denoiser = type(reference).from_pretrained(
            aligned, dtype=reference.dtype, use_safetensors=_only_safe(options), **place
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, SingleFileComponentError) as error:
        raise AnchorError(f"aligned {aligned}: cannot be loaded: {first_line(error)}") from error
    return _freeze(denoiser, reference)


def _hub_structure(repository: str) -> str:
    """Download a hub repository's JSON files, which show its layout, and return their folder."""
    return snapshot_download(repository, allow_patterns=["*.json"])


def _only_safe(options: PipelineOptions) -> bool | None:
    # diffusers reads False as "pickles only" and None as "safetensors where there are any".
    return True if options.use_safetensors else None


def _require_known_config(scheduler: Any, config: Mapping[str, Any]) -> None:
    """Raise AnchorError for a setting that diffusers would silently ignore."""
    known = [name for name in inspect.signature(scheduler.__init__).parameters if name != "self"]
    for key in config:
        if key not in known:
            raise AnchorError(
                f"scheduler_config {key!r} given, but {scheduler.__name__} takes {', '.join(known)}"
            )


def _load_file(pipe: DiffusionPipeline, path: Path, *, options: PipelineOptions) -> nn.Module | str:
    """Return the denoiser of a single file, or the name of its LoRA adapter."""
    reference: Any = getattr(pipe, denoiser_name(pipe))
    pickled = path.suffix in _PICKLES
    weights = (
        torch.load(path, map_location="cpu", weights_only=True) if pickled else load_file(path)
    )
    if any("lora" in key for key in weights):
        return _load_lora(pipe, str(path), options=options)
    if weights.keys() == reference.state_dict().keys():
        denoiser = type(reference).from_config(reference.config)
        denoiser.load_state_dict(weights)
        return _freeze(denoiser.to(reference.dtype), reference)
    denoiser = type(reference).from_single_file(
        str(path), config=reference.config._name_or_path, dtype=reference.dtype
    )
    return _freeze(denoiser, reference)


def _load_lora(pipe: DiffusionPipeline, source: str, *, options: PipelineOptions) -> str:
    """Add a LoRA to the pipeline and return its adapter's name."""
    pipe.load_lora_weights(source, adapter_name=_ADAPTER, use_safetensors=_only_safe(options))
    other_components = [c for c in pipe.get_list_adapters() if c != denoiser_name(pipe)]
    if other_components:
        raise ValueError(
            f"this LoRA also changes {', '.join(other_components)}, which realignment cannot mix: "
            f"use one for the {denoiser_name(pipe)} alone"
        )
    return _ADAPTER


def _freeze(denoiser: nn.Module, reference: Any) -> nn.Module:
    return denoiser.to(reference.device).eval().requires_grad_(False)


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message, which may be many lines long."""
    return str(error).strip().split("\n")[0]
