"""A whole reference pipeline in one file, as A1111 and ComfyUI keep them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import fetch_diffusers_config
from torch import Tensor, nn

from deradiff.denoisers import is_denoiser
from deradiff.formats.checkpoint_text_encoders import differing_text_encoders
from deradiff.formats.noise_schedules import marked
from deradiff.formats.weights import SAFE, read_weights, some
from deradiff.formats.whole_weights import denoiser_from_weights
from deradiff.options import AnchorError, PipelineOptions

_VAE = ("first_stage_model.", "vae.")


def load_single_file(path: Path, options: PipelineOptions, **extra: Any) -> DiffusionPipeline:
    """Return the pipeline in a single file.

    Args:
        path: The file.
        options: How to load it; its `config` names a pipeline of the same architecture.
        extra: Further keywords of `from_single_file`: the type of the weights, components.

    Raises:
        AnchorError: If the configuration cannot be had, or a weight is missing or does not fit.
    """
    if path.suffix != SAFE and path.suffix.lower() == SAFE:
        raise AnchorError("diffusers reads only files that end in .safetensors: rename it to that")
    weights, metadata = read_weights(path, use_safetensors=options.use_safetensors)
    guessed = fetch_diffusers_config(weights)["pretrained_model_name_or_path"]
    config = str(Path(options.config).expanduser()) if options.config else guessed
    try:
        index = DiffusionPipeline.load_config(config)
    except OSError as error:
        raise AnchorError(
            f"a single file needs the configuration of its pipeline, here that of {config}, which "
            "cannot be loaded: set `config` to the folder of a pipeline of the same architecture, "
            "or convert the file to a folder with save_pretrained"
        ) from error
    for name, entry in index.items():
        if isinstance(entry, list) and entry[0] == "diffusers" and name not in extra:
            stub = _empty_denoiser(config, name, entry[1])
            if stub is not None:  # diffusers would load what fits and only warn of the rest
                stub = stub.to(extra["torch_dtype"])
                extra[name] = denoiser_from_weights(stub, weights).eval()
    try:
        kind = getattr(diffusers, index["_class_name"])
        pipe = kind.from_single_file(str(path), config=config, **extra)
    except NotImplementedError as error:  # torch's, for weights without data
        raise AnchorError("weights of its VAE or of a text encoder are missing") from error
    for name, module in pipe.components.items():
        if isinstance(module, nn.Module) and any(weight.is_meta for weight in module.parameters()):
            raise AnchorError(f"weights of its {name} are missing")
    # transformers fills missing weights with random ones.
    if differing := differing_text_encoders(pipe, weights):
        raise AnchorError(f"weights of its {', '.join(differing)} are not loaded as they are")
    if "vae" not in extra:
        require_whole_vae(getattr(pipe, "vae", None), weights)
    for setting, (ours, stated) in marked(pipe.scheduler, weights, metadata).items():
        if ours != stated:
            raise AnchorError(
                f"{setting} differs: the file says {stated}, the configuration {config} {ours}: "
                "set `config` to the folder of a pipeline with the former"
            )
    return pipe


def require_whole_vae(vae: Any, weights: Mapping[str, Tensor]) -> None:
    """Raise AnchorError if the file holds weights of a VAE that diffusers did not load."""
    own = {k: w for k, w in weights.items() if k.startswith(_VAE) and ".loss." not in k}
    known = SINGLE_FILE_LOADABLE_CLASSES.get(type(vae).__name__, {})
    if not own or "checkpoint_mapping_fn" not in known:
        return
    # Conversions take out of this dictionary what they use.
    converted = known["checkpoint_mapping_fn"](checkpoint=dict(own), config=vae.config)
    left = sorted(converted.keys() - vae.state_dict().keys())
    if isinstance(vae, AutoencoderKL):
        # This conversion picks the keys that it knows. What it renames and reshapes keeps its
        # memory, so anything else is left over.
        places = {weight.data_ptr() for weight in converted.values()}
        left = sorted(key for key, weight in own.items() if weight.data_ptr() not in places)
    if left:
        raise AnchorError(f"{len(left)} weights fit no layer of its vae: {some(left)}")


def _empty_denoiser(config: str, name: str, kind: str) -> nn.Module | None:
    """Return the named component without data if it is a denoiser, else None."""
    found: Any = getattr(diffusers, kind, None)
    if ModelMixin not in getattr(found, "__mro__", ()):
        return None
    with init_empty_weights(include_buffers=False):
        module: nn.Module = found.from_config(found.load_config(config, subfolder=name))
    return module if is_denoiser(module) else None
