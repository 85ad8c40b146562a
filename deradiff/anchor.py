"""Anchors: an aligned model with its reference and the KL strength β of its alignment."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from deradiff.adapters import without_adapters
from deradiff.denoisers import denoiser_names
from deradiff.gaussian import Lam
from deradiff.loading import first_line, load_aligned, load_pipeline
from deradiff.options import AnchorError, PipelineOptions
from deradiff.realignment import Aligned, LamSchedule, Realignment, realign

_STEPS = 4
"""Of the call in which the models are compared; only as many run as are needed."""

_FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)


@dataclass(frozen=True)
class Anchor:
    """A pipeline around the reference, the aligned model, and the β of its alignment.

    Attributes:
        pipe: A stock diffusers pipeline around the reference denoiser.
        aligned: What `deradiff.realign` takes: the aligned denoiser, the name of its LoRA adapter
            in `pipe`, or several components of the aligned pipeline by name.
        beta: KL strength β > 0 of the alignment; None where there is none, as for a model that was
            trained without a KL term.

    Raises:
        AnchorError: If `beta` is not positive.
    """

    pipe: DiffusionPipeline = field(repr=False)
    aligned: Aligned = field(repr=False)
    beta: float | None

    def __post_init__(self) -> None:
        if self.beta is not None and not self.beta > 0:
            raise AnchorError(f"beta = {self.beta}: expected the alignment's KL strength, > 0")

    def realign(self, lam: Lam | LamSchedule = 1.0) -> Realignment:
        """Make `pipe` sample from p[β/λ] until the returned realignment is removed.

        Args:
            lam: λ, as `deradiff.realign` takes it for one aligned model.

        Raises:
            InexactMixtureError: If mixing model outputs is not exact for this pipeline.
        """
        return realign(self.pipe, self.aligned, lam)

    @property
    def has_own_condition(self) -> bool:
        """Whether the aligned model has components of its own that encode the prompts."""
        return isinstance(self.aligned, Mapping) and any(
            name not in denoiser_names(self.pipe) for name in self.aligned
        )

    def effective_beta(self, lam: float) -> float | None:
        """Return β/λ, the KL strength that sampling at λ emulates; infinite at λ = 0.

        None if the anchor has no β.
        """
        if self.beta is None:
            return None
        return self.beta / lam if lam else float("inf")

    def fingerprint(self) -> str:
        """Return a digest of the weights of the pipeline's components and of the aligned model."""
        modules = [c for c in self.pipe.components.values() if isinstance(c, nn.Module)]
        aligned = self.aligned.values() if isinstance(self.aligned, Mapping) else [self.aligned]
        modules += [each for each in aligned if isinstance(each, nn.Module)]
        return fingerprint(modules)

    def reference_fingerprint(self) -> str:
        """Return a digest of the reference's denoisers, the same for all anchors of a reference.

        It leaves out what a LoRA anchor adds to them.
        """
        modules = [getattr(self.pipe, name) for name in denoiser_names(self.pipe)]
        return fingerprint(modules, base_only=True)


def load_anchor(
    reference: str | Path,
    aligned: str | Path | Mapping[str, str | Path],
    *,
    beta: float | None,
    options: PipelineOptions | None = None,
    device: str | torch.device = "cpu",
) -> Anchor:
    """Load an anchor from local paths or hub ids, and verify that it changes the output.

    Args:
        reference: A pipeline's folder or hub id.
        aligned: A denoiser's folder (or one with `unet/` or `transformer/` in it), a whole
            pipeline, a LoRA's folder or file, or one .safetensors file of denoiser weights. All but
            single files may also be on the hub. Where the pipeline has several denoisers, a mapping
            from their names to these.
        beta: KL strength β > 0 that `aligned` was aligned at, or None.
        options: How to load the pipeline.
        device: Where to put the pipeline.

    Raises:
        AnchorError: If something is missing, pickled or of another architecture, or if the aligned
            model's output in one forward pass is not finite or equals the reference's.
        InexactMixtureError: If mixing model outputs is not exact for this pipeline.
    """
    options = options or PipelineOptions()
    pipe = load_pipeline(str(reference), options).to(device)
    anchor = Anchor(pipe, load_aligned(pipe, aligned, options=options), beta)
    _require_effect(anchor, _named(aligned))
    return anchor


def _named(aligned: str | Path | Mapping[str, str | Path]) -> str:
    return ", ".join(map(str, aligned.values())) if isinstance(aligned, Mapping) else str(aligned)


def fingerprint(modules: Sequence[nn.Module], *, base_only: bool = False) -> str:
    """Return a digest of the modules' weights, 16 hexadecimal digits.

    It covers names, shapes, types and at most 127 evenly spaced values per tensor, so it is cheap
    even for large models on a GPU. Any training or conversion changes it.

    Args:
        modules: The modules.
        base_only: Whether adapters are left out, so that a model has the digest that it had before
            they were loaded.
    """
    digest = hashlib.sha256()
    for module in modules:
        weights = module.state_dict()
        for name, weight in (without_adapters(weights) if base_only else weights).items():
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            values = weight.detach().flatten()
            picked = values[:: max(1, len(values) // 64)]
            digest.update(picked.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()[:16]


def _require_effect(anchor: Anchor, source: str) -> None:
    """Raise AnchorError unless the models' outputs differ in a forward pass from seeded noise."""
    arguments = {"prompt": "a photo", "num_inference_steps": _STEPS, "output_type": "latent"}
    takes = inspect.signature(anchor.pipe.__call__).parameters.values()
    needed = [p.name for p in takes if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if needed not in ([], ["prompt"]):
        return  # A call needs an image or the like: the probe of the first call will tell.
    with anchor.realign() as realignment:
        try:
            (effect,) = realignment.effects(**arguments, generator=torch.Generator().manual_seed(0))
        except _FAILURES as error:
            realignment.remove()
            _require_sound_reference(anchor, arguments)
            raise AnchorError(
                f"aligned {source}: its forward pass fails ({first_line(error)}): it does not fit "
                "the reference's architecture"
            ) from error
    if not effect.finite:
        raise AnchorError(
            f"aligned {source}: its output is not finite: check its weights, or use another dtype"
        )
    if not effect.found:
        raise AnchorError(
            f"aligned {source}: gives exactly the reference's output, so it changes nothing: check "
            "that it is not the reference itself, nor a LoRA of another architecture"
        )


def _require_sound_reference(anchor: Anchor, arguments: dict[str, Any]) -> None:
    """Raise AnchorError if the reference's own pipeline cannot be called."""
    try:
        anchor.pipe(**arguments)
    except _FAILURES as error:
        raise AnchorError(
            f"the reference's own pipeline fails ({first_line(error)}): check its components, and "
            "the scheduler and its settings if you have chosen them"
        ) from error
