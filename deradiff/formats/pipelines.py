"""Whole pipelines as aligned models: which of their components differ from the reference's."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn

from deradiff.formats.noise_schedules import require_same_latents, require_same_schedule
from deradiff.formats.samplers import require_same_sampler
from deradiff.formats.sources import Source
from deradiff.formats.weights import component_files, one_model
from deradiff.options import AnchorError, PipelineOptions

# Components that the aligned model need not share: images are decoded by the reference's own.
_NOT_COMPARED = ("vae", "safety_checker", "feature_extractor", "image_processor", "scheduler")
# Settings of a pipeline that do not change what it samples.
_INERT = {"requires_safety_checker", "add_watermarker"}

# Entries of a component's configuration that do not change what it computes.
_INERT_CONFIG = {"architectures", "transformers_version", "dtype", "torch_dtype"}


def is_whole_pipeline(source: Source) -> bool:
    """Return whether a folder holds a whole diffusers pipeline."""
    return source.has("model_index.json")


def require_same_sampling(
    pipe: Any, stored_scheduler: Any, source: Source, *, options: PipelineOptions
) -> None:
    """Raise AnchorError unless a whole pipeline samples as the reference's pipeline does.

    Args:
        pipe: The reference's pipeline.
        stored_scheduler: The scheduler stored with it.
        source: The aligned pipeline's folder.
        options: How the reference was loaded; what the user chose for both is not compared.
    """
    root = source.fetch(["model_index.json", "scheduler/*", "vae/config.json"])
    index = json.loads((root / "model_index.json").read_text())
    for name, value in index.items():
        ours = pipe.config.get(name)
        plain = not name.startswith("_") and not isinstance(value, list) and name not in _INERT
        if plain and name in pipe.config and ours != value:
            raise AnchorError(
                f"{name} differs: the reference's pipeline has {ours}, the aligned one {value}"
            )
    if (root / "scheduler" / "scheduler_config.json").is_file():
        scheduler = component_class(index["scheduler"]).from_pretrained(root / "scheduler")
        chosen = {*options.scheduler_config, *(["timestep_spacing"] if options.scheduler else [])}
        require_same_schedule(stored_scheduler, scheduler, chosen=chosen)
        if options.scheduler is None:
            require_same_sampler(stored_scheduler, scheduler, chosen=chosen)
    vae = root / "vae" / "config.json"
    if vae.is_file() and getattr(pipe, "vae", None) is not None:
        # Versions of diffusers differ in whether they write settings that have their default.
        parameters = inspect.signature(component_class(index["vae"]).__init__).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        require_same_latents(pipe.vae.config, {**defaults, **json.loads(vae.read_text())})


def differing_components(
    pipe: Any, source: Source, denoisers: Collection[str], options: PipelineOptions
) -> dict[str, Any]:
    """Return the components of a whole pipeline, besides denoisers, that differ from `pipe`'s."""
    root = source.fetch(["model_index.json"])
    index = json.loads((root / "model_index.json").read_text())
    theirs = {n: entry for n, entry in index.items() if isinstance(entry, list) and entry[0]}
    mine = {name: each for name, each in pipe.components.items() if each is not None}
    for name in sorted(theirs.keys() ^ mine.keys()):
        if not name.startswith(_NOT_COMPARED):
            owner = "the aligned" if name in theirs else "the reference's"
            raise AnchorError(
                f"only {owner} pipeline has a {name}: take it out there, or give the denoiser's "
                "folder alone"
            )
    found = {}
    for name, entry in theirs.items():
        if name in denoisers or name.startswith(_NOT_COMPARED):
            continue
        ours = mine[name]
        folder = source.within(name)
        if isinstance(ours, nn.Module):
            component = _differing_module(ours, folder, component_class(entry), options)
        else:
            component = _differing_tokenizer(ours, folder, component_class(entry))
        if component is not None:
            found[name] = component
    return found


def component_class(entry: list[str]) -> Any:
    """Return the class that an entry of a pipeline's index names: [library, class]."""
    library, name = entry
    places = [diffusers if library == "diffusers" else transformers]
    if library not in ("diffusers", "transformers"):
        places = [importlib.import_module(f"diffusers.pipelines.{library}")]
    for place in places:
        if (found := getattr(place, name, None)) is not None:
            return found
    raise AnchorError(f"its {name} of {library} is not known to the installed diffusers")


def _differing_module(
    ours: nn.Module, folder: Source, kind: Any, options: PipelineOptions
) -> nn.Module | None:
    """Return the aligned pipeline's module if its weights are not the reference's, else None."""
    names = folder.top_level()
    files, variant = component_files(
        names, variant=options.variant, use_safetensors=options.use_safetensors
    )
    files = one_model(folder.fetch(["*.json"]), names, files)
    root = folder.fetch(files)
    same_config = _same_config(ours, root, kind)
    if same_config and _same_tensors(ours, (root / name for name in files)):
        return None
    dtype = next(weight.dtype for weight in ours.parameters())
    module: nn.Module = kind.from_pretrained(
        root, dtype=dtype, variant=variant, use_safetensors=files[0].endswith(".safetensors")
    )
    theirs, mine = module.state_dict(), ours.state_dict()
    same = (
        same_config
        and theirs.keys() == mine.keys()
        and all(_equal(mine[n], theirs[n]) for n in mine)
    )
    if same:
        return None
    return module.to(next(ours.parameters()).device).eval().requires_grad_(False)


def _same_config(ours: Any, root: Path, kind: Any) -> bool:
    """Return whether a folder's configuration is the module's, apart from what changes nothing."""
    if hasattr(kind, "config_class"):
        theirs, mine = kind.config_class.from_pretrained(root).to_dict(), ours.config.to_dict()
    else:
        theirs, mine = kind.load_config(root), ours.config
        mine = {name: mine.get(name) for name in theirs}
    given, own = (json.loads(json.dumps(each, default=str)) for each in (theirs, dict(mine)))
    return all(
        given.get(name) == own.get(name)
        for name in given.keys() | own.keys()
        if not name.startswith("_") and name not in _INERT_CONFIG
    )


def _same_tensors(ours: nn.Module, files: Iterator[Path]) -> bool:
    """Return whether files hold exactly the module's weights, read one tensor at a time."""
    mine = dict(ours.state_dict())
    for path in files:
        if path.suffix != ".safetensors":
            return False
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                weight = mine.pop(key, None)
                if weight is None or not _equal(weight, file.get_tensor(key)):
                    return False
    return not mine


def _equal(ours: Tensor, theirs: Tensor) -> bool:
    """Return whether two weights are equal in the coarser one of their types."""
    if ours.shape != theirs.shape:
        return False
    coarser = min(ours.dtype, theirs.dtype, key=lambda dtype: dtype.itemsize)
    return torch.equal(ours.to("cpu", coarser), theirs.to("cpu", coarser))


def _differing_tokenizer(ours: Any, folder: Source, kind: Any) -> Any | None:
    """Return the aligned pipeline's tokenizer if it has another vocabulary, else None."""
    if not hasattr(ours, "get_vocab"):
        return None
    theirs = kind.from_pretrained(folder.fetch(["*"]))
    same_words = theirs.get_vocab() == ours.get_vocab()
    return None if same_words and theirs.model_max_length == ours.model_max_length else theirs
