"""Load pipelines and aligned models from folders, hub ids, LoRA files and single files."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import AutoModel, DiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors import SafetensorError
from torch import nn

from deradiff.denoisers import denoiser_names
from deradiff.formats.folders import load_component, load_file
from deradiff.formats.pipelines import (
    differing_components,
    is_whole_pipeline,
    require_same_sampling,
)
from deradiff.formats.references import load_single_file
from deradiff.formats.sources import Source, open_source
from deradiff.options import AnchorError, PipelineOptions, scheduler_class
from deradiff.realignment import Aligned

_FAILURES = (
    *(OSError, ValueError, RuntimeError, LookupError, ImportError, NotImplementedError),
    *(AttributeError, TypeError, EOFError, pickle.UnpicklingError),
    *(SafetensorError, SingleFileComponentError),
)
"""What libraries raise for files that are not as they expect."""

# The scheduler that was stored with each pipeline, before the options replaced it.
_STORED: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def load_pipeline(reference: str, options: PipelineOptions) -> DiffusionPipeline:
    """Return the reference's pipeline with the scheduler and VAE of the options.

    Args:
        reference: Folder or hub id of a diffusers pipeline, or a whole checkpoint in one file.
        options: How to load it.

    Raises:
        AnchorError: If something cannot be loaded, or a scheduler setting is unknown.
    """
    with loading(f"reference {reference}"):
        pipe = _load_reference(reference, options)
    for component in pipe.components.values():
        if isinstance(component, nn.Module):
            in_own_memory(component)
    _STORED[pipe] = pipe.scheduler
    if options.scheduler or options.scheduler_config:
        chosen = scheduler_class(options.scheduler) if options.scheduler else type(pipe.scheduler)
        _require_known_config(chosen, options.scheduler_config)
        pipe.scheduler = _scheduler(chosen, pipe.scheduler, options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_aligned(
    pipe: DiffusionPipeline,
    aligned: str | Path | Mapping[str, str | Path],
    *,
    options: PipelineOptions,
) -> Aligned:
    """Return the aligned model in the form that `deradiff.realign` takes.

    Args:
        pipe: The reference's pipeline.
        aligned: A denoiser's folder, a whole pipeline, a trainer's output, a LoRA or a single
            file; or, for a pipeline with several denoisers, one of these per component.
        options: How to load it.

    Returns:
        The denoiser, or the name of the LoRA adapter added to the reference's; or a dictionary
        of components, where there are several denoisers or a text encoder differs.

    Raises:
        AnchorError: If it cannot be loaded exactly; one line says which file, why, and the way out.
    """
    if not isinstance(aligned, Mapping):
        parts = _load_parts(pipe, str(aligned), denoiser_names(pipe), options)
        return next(iter(parts.values())) if list(parts) == denoiser_names(pipe)[:1] else parts
    names = denoiser_names(pipe)
    if set(aligned) != set(names):
        raise AnchorError(
            f"aligned gives {', '.join(aligned)}, but {type(pipe).__name__} has the denoisers "
            f"{', '.join(names)}: give each of them"
        )
    found: dict[str, nn.Module | str] = {}
    for name in names:
        found |= _load_parts(pipe, str(aligned[name]), [name], options)
    return found


def in_own_memory(module: nn.Module) -> nn.Module:
    """Copy weights that are mapped from a file, and return the module.

    Where a tensor lies in a file decides how it is aligned, which decides how kernels round: the
    same weights in another file would give other last digits.
    """
    with torch.no_grad():
        for weight in module.parameters():
            if weight.device.type == "cpu":
                weight.data = weight.data.clone()
    return module


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn what libraries raise for files that are not as they expect into an AnchorError."""
    try:
        yield
    except AnchorError as error:
        raise AnchorError(f"{what}: {error}") from error
    except _FAILURES as error:
        raise AnchorError(f"{what}: cannot be loaded: {first_line(error)}") from error


def _load_reference(reference: str, options: PipelineOptions) -> DiffusionPipeline:
    extra: dict[str, Any] = {"dtype": getattr(torch, options.dtype)}
    safe = _only_safe(options)
    if options.vae:
        vae = str(Path(options.vae).expanduser())
        extra["vae"] = AutoModel.from_pretrained(vae, use_safetensors=safe, **extra)
    path = Path(reference).expanduser()
    if path.is_file():
        extra["torch_dtype"] = extra.pop("dtype")
        return load_single_file(path, options, **extra)
    if options.variant:
        extra["variant"] = options.variant
    location = str(path) if path.exists() else reference
    return DiffusionPipeline.from_pretrained(location, use_safetensors=safe, **extra)


def _load_parts(
    pipe: DiffusionPipeline, location: str, names: list[str], options: PipelineOptions
) -> dict[str, nn.Module | str]:
    """Return the named denoisers of one location, and its text encoders that differ."""
    with loading(f"aligned {location}"):
        path = Path(location).expanduser()
        if path.is_file():
            beside = (p.name for p in path.parent.iterdir() if p.is_file())
            return _from_file(pipe, Source(path.parent, tuple(beside)), path.name, names, options)
        return _from_folder(pipe, open_source(location), names, options)


def _from_file(
    pipe: DiffusionPipeline,
    source: Source,
    file: str,
    names: list[str],
    options: PipelineOptions,
) -> dict[str, nn.Module | str]:
    _require_one(pipe, names)
    return load_file(pipe, names[0], source, file, scheduler=_stored(pipe), options=options)


def _from_folder(
    pipe: DiffusionPipeline, source: Source, names: list[str], options: PipelineOptions
) -> dict[str, nn.Module | str]:
    whole = is_whole_pipeline(source) and options.file is None
    if not whole and not all(source.has(f"{name}/config.json") for name in names):
        _require_one(pipe, names)
    if whole:
        require_same_sampling(pipe, _stored(pipe), source, options=options)
    parts: dict[str, nn.Module | str] = {}
    for name in names:
        parts |= load_component(pipe, name, source, scheduler=_stored(pipe), options=options)
    if whole:
        parts |= differing_components(pipe, source, denoiser_names(pipe), options)
    return parts


def _require_one(pipe: DiffusionPipeline, names: list[str]) -> None:
    if len(names) > 1:
        raise AnchorError(
            f"{type(pipe).__name__} has the denoisers {', '.join(names)}: give a location for "
            "each, as aligned = { " + ", ".join(f'{name} = "…"' for name in names) + " }"
        )


def _scheduler(chosen: Any, stored: Any, options: PipelineOptions) -> Any:
    try:
        return chosen.from_config(stored.config, **options.scheduler_config)
    except (*_FAILURES, ArithmeticError, AssertionError) as error:
        given = ", ".join(f"{key} = {value!r}" for key, value in options.scheduler_config.items())
        what = f"scheduler_config {given}" if given else "the stored configuration"
        raise AnchorError(f"{chosen.__name__} does not take {what}: {first_line(error)}") from error


def _stored(pipe: DiffusionPipeline) -> Any:
    return _STORED.get(pipe, pipe.scheduler)


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


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message, which may be many lines long."""
    return str(error).strip().split("\n")[0]
