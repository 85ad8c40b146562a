"""A realigned pipeline as a folder: the reference, what differs in the aligned model, and λ.

FOLDER/realigned.json    λ, β, the settings of a call
FOLDER/reference/        a stock pipeline
FOLDER/aligned/NAME/     each component that differs, or the adapter of a denoiser
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from deradiff.anchor import Anchor
from deradiff.denoisers import denoiser_names
from deradiff.exports.adapter_file import save_adapter
from deradiff.exports.merged import aligned_components
from deradiff.exports.pipeline_folder import remove_paths, save_pipeline
from deradiff.exports.plain_weights import plain_denoiser
from deradiff.formats.folders import load_component
from deradiff.formats.pipelines import component_class
from deradiff.formats.sources import open_source
from deradiff.loading import in_own_memory, load_pipeline, loading
from deradiff.options import AnchorError, PipelineOptions
from deradiff.realignment import Realignment
from deradiff.step_schedule import first_steps

INDEX, REFERENCE, ALIGNED = "realigned.json", "reference", "aligned"
_FORMAT = 1


@dataclass(frozen=True)
class RealignedPipeline:
    """A pipeline that samples from p[β/λ], and how it was sampled when λ was found.

    Attributes:
        pipe: The realigned pipeline, a stock one of diffusers.
        lam: λ, as it was stored.
        beta: β of the aligned model, None where it has none.
        call: Keyword arguments of every call, such as the number of steps.
        realignment: What realigns the pipeline; set its `lam` to change λ, `remove()` to end it.
    """

    pipe: DiffusionPipeline = field(repr=False)
    lam: float
    beta: float | None
    call: Mapping[str, Any]
    realignment: Realignment = field(repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the pipeline with the stored settings, which keyword arguments override."""
        return self.pipe(*args, **{**self.call, **kwargs})


def save_realigned(
    anchor: Anchor,
    folder: Path,
    *,
    lam: float,
    call: Mapping[str, Any],
    aligned_steps: int | None = None,
) -> None:
    """Write an anchor at λ as a folder that `load` reads.

    Args:
        anchor: The anchor, which must not be realigned at the moment.
        folder: Where to write it; it is made.
        lam: λ.
        call: Keyword arguments for the pipeline's call, as JSON.
        aligned_steps: Number of the first steps in which the aligned model counts; None for all.
    """
    pipe = anchor.pipe
    parts = aligned_components(anchor)
    plain: dict[str, Any]
    plain = {name: plain_denoiser(getattr(pipe, name)) for name in denoiser_names(pipe)}
    save_pipeline(pipe, folder / REFERENCE, plain)
    aligned: Any
    for name, aligned in parts.items():
        if isinstance(aligned, str):
            save_adapter(getattr(pipe, name), aligned, folder / ALIGNED / name)
        else:
            aligned.save_pretrained(folder / ALIGNED / name)
    remove_paths(folder / ALIGNED)
    index = {
        "format": _FORMAT,
        "lam": lam,
        "beta": anchor.beta,
        "dtype": str(next(iter(plain.values())).dtype).removeprefix("torch."),
        "aligned": {name: _entry(each) for name, each in parts.items()},
        "call": dict(call),
        "aligned_steps": aligned_steps,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def load(folder: str | Path, device: str | torch.device = "cpu") -> RealignedPipeline:
    """Load a folder of `save_realigned`, or of `lamsearch export --as realigned`.

    Only safetensors files are read, and no code of the folder is run.

    Args:
        folder: The local folder.
        device: Where to put the models.

    Returns:
        The realigned pipeline at the stored λ; call it as the pipeline.

    Raises:
        AnchorError: If it is no such folder, or something in it cannot be loaded.
    """
    root = Path(folder).expanduser()
    index = _read_index(root / INDEX)
    options = PipelineOptions(dtype=index["dtype"])
    pipe = load_pipeline(str(root / REFERENCE), options).to(device)
    parts = {}
    for name, entry in index["aligned"].items():
        if name not in pipe.components:
            raise AnchorError(f"{root / INDEX} names a component {name!r}, which there is not")
        with loading(f"aligned {name}"):
            parts[name] = _load_part(pipe, name, entry, root / ALIGNED / name, options)
    alone = list(parts) == denoiser_names(pipe)[:1]
    anchor = Anchor(pipe, next(iter(parts.values())) if alone else parts, index["beta"])
    realignment = anchor.realign(index["lam"])
    if (steps := index["aligned_steps"]) is not None:
        realignment.lam = first_steps(index["lam"], steps, lambda: realignment.step_index)
    return RealignedPipeline(pipe, index["lam"], index["beta"], index["call"], realignment)


def _entry(aligned: Any) -> list[str] | None:
    """Return [library, class] of a component that is no denoiser or adapter of one, else None."""
    if isinstance(aligned, str) or hasattr(aligned, "load_config"):
        return None
    return ["transformers", type(aligned).__name__]


def _load_part(
    pipe: Any, name: str, entry: list[str] | None, folder: Path, options: PipelineOptions
) -> Any:
    if entry is None:
        source = open_source(str(folder))
        return load_component(pipe, name, source, scheduler=pipe.scheduler, options=options)[name]
    kind = component_class(entry)
    if not issubclass(kind, nn.Module):
        return kind.from_pretrained(folder)
    dtype = getattr(torch, options.dtype)
    module = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    return in_own_memory(module).to(pipe.device).eval().requires_grad_(False)


def _read_index(file: Path) -> dict[str, Any]:
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnchorError(
            f"{file.parent} cannot be loaded ({INDEX}: {error.strerror or error}): give a folder "
            "that `lamsearch export --as realigned` wrote"
        ) from error
    except ValueError as error:
        raise AnchorError(f"{file} is not valid JSON: {error}") from error
    keys = {"lam", "beta", "dtype", "aligned", "call", "aligned_steps"}
    if not isinstance(index, dict) or index.get("format") != _FORMAT or not keys <= index.keys():
        raise AnchorError(f"{file} is of another format: this version reads format {_FORMAT}")
    return index
