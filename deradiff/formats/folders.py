"""Find the model in a folder: a denoiser, a LoRA, a single file, or a trainer's checkpoints."""

from __future__ import annotations

import json
import logging
from typing import Any

from torch import nn

from deradiff.formats.checkpoint_text_encoders import differing_text_encoders
from deradiff.formats.lora import load_lora
from deradiff.formats.lora_keys import is_lora, refuse_textual_inversion
from deradiff.formats.noise_schedules import require_markers
from deradiff.formats.sources import Source
from deradiff.formats.weights import (
    component_files,
    model_files,
    one_model,
    read_shards,
    read_weights,
    some,
)
from deradiff.formats.whole_weights import denoiser_from_weights, require_class
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
    if options.file is None:
        for inner in (component, f"{component}_ema"):
            if source.has(f"{inner}/config.json"):
                _log.info("using %s of %s", inner, source.root)
                inside = source.within(inner)
                return {component: _load_denoiser(pipe, component, inside, scheduler, options)}
        is_denoiser = source.has("config.json") and not source.has("model_index.json")
        if is_denoiser and "_class_name" in _config(source):
            return {component: _load_denoiser(pipe, component, source, scheduler, options)}
    names = source.top_level() if options.file is None else _named_file(source, options.file)
    files = model_files(names, use_safetensors=options.use_safetensors)
    if not files and (checkpoint := source.newest_checkpoint()) is not None:
        _log.info("using %s, the newest checkpoint of %s", checkpoint, source.root)
        inside = source.within(checkpoint)
        return load_component(pipe, component, inside, scheduler=scheduler, options=options)
    if not files:
        raise AnchorError(
            f"cannot be loaded: expected {component}/config.json, config.json, a LoRA or a weight "
            f"file, found {some(source.files) or 'nothing'}"
        )
    if len(files) > 1:
        raise AnchorError(f"several weight files ({some(files)}): set `file` to one of them")
    return load_file(pipe, component, source, files[0], scheduler=scheduler, options=options)


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
    """
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
    denoiser = _freeze(denoiser_from_weights(reference, weights), reference)
    return {component: denoiser, **differing_text_encoders(pipe, weights)}


def _load_denoiser(
    pipe: Any, component: str, source: Source, scheduler: Any, options: PipelineOptions
) -> nn.Module:
    """Return the denoiser of a folder in diffusers' layout."""
    _refuse_strength(options)
    reference = getattr(pipe, component)
    config = _config(source)
    require_class(reference, config)
    names = source.top_level()
    files, variant = component_files(
        names, variant=options.variant, use_safetensors=options.use_safetensors
    )
    if variant != options.variant:
        _log.info("%s has no variant %s: using its plain files", source.root, options.variant)
    root = source.fetch([n for n in names if n.endswith(".json")])
    files = one_model(root, names, files)
    source.fetch(files)
    weights, metadata = read_shards(root, files, use_safetensors=options.use_safetensors)
    require_markers(scheduler, weights, metadata)
    return _freeze(denoiser_from_weights(reference, weights, config), reference)


def _config(source: Source) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((source.fetch(["config.json"]) / "config.json").read_text())
    return config


def _named_file(source: Source, name: str) -> list[str]:
    if not source.has(name):
        raise AnchorError(f"has no file {name!r}: it has {some(source.files) or 'none'}")
    return [name]


def _refuse_strength(options: PipelineOptions) -> None:
    if options.strength not in (None, 1):
        raise AnchorError("strength is set, but this is a whole denoiser: it only scales a LoRA")


def _freeze(denoiser: nn.Module, reference: Any) -> nn.Module:
    return denoiser.to(reference.device).eval().requires_grad_(False)
