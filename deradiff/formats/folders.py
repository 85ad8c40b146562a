"""Find the model in a folder: a denoiser, a LoRA, a single file, or a trainer's checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import nn

from deradiff.formats.checkpoint_text_encoders import differing_text_encoders
from deradiff.formats.denoiser_config import config_beside, read_config
from deradiff.formats.lora import load_lora
from deradiff.formats.lora_keys import is_lora, refuse_textual_inversion
from deradiff.formats.noise_schedules import require_markers
from deradiff.formats.sources import Source
from deradiff.formats.weights import (
    component_files,
    is_shard,
    model_files,
    one_model,
    read_shards,
    read_weights,
    some,
)
from deradiff.formats.whole_weights import denoiser_from_weights
from deradiff.options import AnchorError, PipelineOptions

Parts = dict[str, nn.Module | str]
"""Components of the aligned pipeline by name."""

_log = logging.getLogger("deradiff")


def load_component(
    pipe: Any, component: str, source: Source, *, scheduler: Any, options: PipelineOptions
) -> Parts:
    """Return the denoiser in a folder, or the name of the adapter added for the LoRA in it.

    Looked for are, in this order: the component's own folder, its `_ema` folder, a denoiser in the
    folder itself, one weight file, and the newest `checkpoint-N/`.

    Args:
        pipe: The reference's pipeline.
        component: Name of the denoiser in it.
        source: The folder.
        scheduler: The scheduler stored with the reference.
        options: How to load it.

    Raises:
        AnchorError: If there is no model, or more than one.
    """
    if options.file is not None:
        source, name = _named_file(source, options.file)
        return load_file(pipe, component, source, name, scheduler=scheduler, options=options)
    if (folder := _denoiser_folder(source, component)) is not None:
        return {component: _load_denoiser(pipe, component, folder, scheduler, options)}
    files = model_files(source.top_level(), use_safetensors=options.use_safetensors)
    if not files and (checkpoint := source.newest_checkpoint()) is not None:
        _log.info("using %s, the newest checkpoint of %s", checkpoint, source.root)
        inside = source.within(checkpoint)
        return load_component(pipe, component, inside, scheduler=scheduler, options=options)
    if not files:
        raise AnchorError(
            f"cannot be loaded: expected {component}/config.json, config.json, a LoRA or a weight "
            f"file, found {some(source.files) or 'nothing'}"
        )
    name = _only(files)
    return load_file(pipe, component, source, name, scheduler=scheduler, options=options)


def load_file(
    pipe: Any,
    component: str,
    source: Source,
    name: str,
    *,
    scheduler: Any,
    options: PipelineOptions,
) -> Parts:
    """Return the denoiser in one file, or the name of the adapter added for the LoRA in it.

    With it come the text encoders of a whole checkpoint that differ from the reference's.

    Raises:
        AnchorError: If it cannot be loaded exactly.
    """
    if is_shard(name):
        raise AnchorError(f"{name} is one of several shards: give the folder that they lie in")
    beside = ["adapter_config.json"] if source.has("adapter_config.json") else []
    path = source.fetch([name, *beside]) / name
    weights, metadata = read_weights(path, use_safetensors=options.use_safetensors)
    require_markers(scheduler, weights, metadata)
    refuse_textual_inversion(weights)
    reference = getattr(pipe, component)
    if is_lora(weights):
        lora = load_lora(
            pipe,
            component,
            weights=weights,
            metadata=metadata,
            file=path,
            strength=options.strength,
        )
        return {component: lora}
    _refuse_strength(options)
    config = config_beside(source, reference)
    denoiser = _freeze(denoiser_from_weights(reference, weights, config), reference)
    return {component: denoiser, **differing_text_encoders(pipe, weights)}


def _denoiser_folder(source: Source, component: str) -> Source | None:
    """Return the folder of a denoiser in diffusers' layout, or None if there is none."""
    for inner in (component, f"{component}_ema"):
        if source.has(f"{inner}/config.json"):
            _log.info("using %s of %s", inner, source.root)
            return source.within(inner)
    if source.has("model_index.json") or "_class_name" not in read_config(source):
        return None
    return source


def _load_denoiser(
    pipe: Any, component: str, source: Source, scheduler: Any, options: PipelineOptions
) -> nn.Module:
    """Return the denoiser of a folder in diffusers' layout."""
    _refuse_strength(options)
    reference = getattr(pipe, component)
    config = config_beside(source, reference)
    names = source.top_level()
    files, variant = component_files(
        names, variant=options.variant, use_safetensors=options.use_safetensors
    )
    if variant != options.variant:
        used = f"the only one it has, {variant}" if variant else "its plain files"
        _log.info("%s has no variant %s: using %s", source.root, options.variant, used)
    root = source.fetch([n for n in names if n.endswith(".json")])
    files = one_model(root, names, files)
    source.fetch(files)
    weights, metadata = read_shards(root, files, use_safetensors=options.use_safetensors)
    require_markers(scheduler, weights, metadata)
    return _freeze(denoiser_from_weights(reference, weights, config), reference)


def _only(files: Sequence[str]) -> str:
    """Return the only one of a folder's weight files."""
    if any(is_shard(name) for name in files):
        raise AnchorError(
            f"has shards of a model ({some(files)}), but no config.json that names its class: put "
            "that beside them"
        )
    if len(files) > 1:
        raise AnchorError(f"several weight files ({some(files)}): set `file` to one of them")
    return files[0]


def _named_file(source: Source, path: str) -> tuple[Source, str]:
    """Return the folder that the file lies in, whose configuration counts, and its name there."""
    if not source.has(path):
        raise AnchorError(f"has no file {path!r}: it has {some(source.files) or 'none'}")
    folder, _, name = path.rpartition("/")
    return source.within(folder) if folder else source, name


def _refuse_strength(options: PipelineOptions) -> None:
    if options.strength not in (None, 1):
        raise AnchorError("strength is set, but this is a whole denoiser: it only scales a LoRA")


def _freeze(denoiser: nn.Module, reference: Any) -> nn.Module:
    return denoiser.to(reference.device).eval().requires_grad_(False)
