"""Anchors: an aligned model with its reference and the KL strength β of its alignment."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from deradiff.gaussian import Lam
from deradiff.loading import first_line, load_aligned, load_pipeline
from deradiff.options import AnchorError, PipelineOptions
from deradiff.realignment import LamSchedule, Realignment, realign


@dataclass(frozen=True)
class Anchor:
    """A pipeline around the reference, the aligned model, and the β of its alignment.

    Attributes:
        pipe: A stock diffusers pipeline around the reference denoiser.
        aligned: The aligned denoiser, or the name of its LoRA adapter in `pipe`.
        beta: KL strength β > 0 of the alignment.

    Raises:
        AnchorError: If `beta` is not positive.
    """

    pipe: DiffusionPipeline
    aligned: nn.Module | str
    beta: float

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise AnchorError(f"beta = {self.beta}: expected the alignment's KL strength, > 0")

    def realign(self, lam: Lam | LamSchedule = 1.0) -> Realignment:
        """Make `pipe` sample from p[β/λ] until the returned realignment is removed.

        Args:
            lam: λ, as `deradiff.realign` takes it for one aligned model.

        Raises:
            InexactMixtureError: If mixing model outputs is not exact for this pipeline.
        """
        return realign(self.pipe, self.aligned, lam)

    def effective_beta(self, lam: float) -> float:
        """Return β/λ, the KL strength that sampling at λ emulates; infinite at λ = 0."""
        return self.beta / lam if lam else float("inf")

    def fingerprint(self) -> str:
        """Return a digest of the weights of the pipeline's components and of the aligned model."""
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
    """Load an anchor from local paths or hub ids, and verify that it changes the output.

    Args:
        reference: A pipeline's folder or hub id.
        aligned: A denoiser's folder (or one with `unet/` or `transformer/` in it), a whole
            pipeline, a LoRA's folder or file, or one .safetensors file of denoiser weights. All but
            single files may also be on the hub.
        beta: KL strength β > 0 that `aligned` was aligned at.
        options: How to load the pipeline.
        device: Where to put the pipeline.

    Raises:
        AnchorError: If something is missing, pickled or of another architecture, or if the aligned
            model's output in one forward pass is not finite or equals the reference's.
        InexactMixtureError: If mixing model outputs is not exact for this pipeline.
    """
    options = options or PipelineOptions()
    pipe = load_pipeline(str(reference), options).to(device)
    anchor = Anchor(pipe, load_aligned(pipe, str(aligned), options=options), beta)
    _require_effect(anchor, str(aligned))
    return anchor


def fingerprint(modules: Sequence[nn.Module]) -> str:
    """Return a digest of the modules' weights, 16 hexadecimal digits.

    It covers names, shapes, types and at most 127 evenly spaced values per tensor, so it is cheap
    even for large models on a GPU. Any training or conversion changes it.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, weight in module.state_dict().items():
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            values = weight.detach().flatten()
            picked = values[:: max(1, len(values) // 64)]
            digest.update(picked.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()[:16]


def _require_effect(anchor: Anchor, source: str) -> None:
    """Raise AnchorError unless one denoising step differs between reference and aligned."""
    # The reference runs twice because some GPU kernels are not deterministic.
    first, again, aligned = (_one_step(anchor, lam, source=source) for lam in (0.0, 0.0, 1.0))
    if not bool(aligned.isfinite().all()):
        raise AnchorError(
            f"aligned {source}: its output is not finite: check its weights, or use another dtype"
        )
    if (aligned - first).abs().max() <= (again - first).abs().max():
        raise AnchorError(
            f"aligned {source}: gives exactly the reference's output, so it changes nothing: check "
            "that it is not the reference itself, nor a LoRA of another architecture"
        )


def _one_step(anchor: Anchor, lam: float, *, source: str) -> Tensor:
    """Return the latents after one denoising step from seeded noise, in float32."""
    with anchor.realign(lam):
        generator = torch.Generator().manual_seed(0)
        try:
            output = anchor.pipe(
                "a photo", num_inference_steps=1, generator=generator, output_type="latent"
            )
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise AnchorError(
                f"aligned {source}: its forward pass fails ({first_line(error)}): it does not fit "
                "the reference's architecture"
            ) from error
    latents: Tensor = output[0]
    return latents.float()
