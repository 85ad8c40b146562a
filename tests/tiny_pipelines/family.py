"""One row of the table of pipelines: how a tiny real one is built, called and compared."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from tiny_pipelines.stock import perturb, seeded_weights

Prompts = Sequence[int]
"""Numbers of prompts: each number stands for one prompt text or one set of embeddings."""


class Exactness(enum.StrEnum):
    """How a mixture at 0 < λ < 1 is made exact in a family of pipelines."""

    MODEL_OUTPUTS = "model outputs mixed"
    GUIDED = "guided, then mixed"
    STEPS = "reverse steps mixed"
    REFUSED = "refused"


def leave_bare(pipe: DiffusionPipeline) -> None:
    """Attach nothing."""


@dataclass(frozen=True)
class Family:
    """A family of pipelines.

    Attributes:
        name: The family's name for people, as the documentation shows it.
        build: Returns the tiny pipeline for a seed, with seeded weights.
        call: Returns the arguments of a call for numbered prompts and images per prompt, without
            the generators.
        exactness: How the realignment is exact, or that it refuses.
        denoisers: The names of the components that are realigned.
        steps: The number of inference steps in the tests.
        attach: Attaches to a pipeline what a user puts on its denoiser (adapters, FreeU).
        refused: Why the realignment refuses; matched against the error's message.
    """

    name: str
    build: Callable[[int], DiffusionPipeline]
    call: Callable[[Prompts, int], dict[str, Any]]
    exactness: Exactness = Exactness.MODEL_OUTPUTS
    denoisers: tuple[str, ...] = ("transformer",)
    steps: int = 2
    attach: Callable[[DiffusionPipeline], None] = leave_bare
    refused: str = ""

    def with_call(self, name: str, exactness: Exactness, **kwargs: Any) -> Family:
        """Return this family under another name, with other arguments of the call."""

        def call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
            return {**self.call(prompts, per_prompt), **kwargs}

        return replace(self, name=name, call=call, exactness=exactness)

    def pipeline(
        self, seed: int = 0, denoisers: Mapping[str, nn.Module] | None = None
    ) -> DiffusionPipeline:
        """Return the pipeline, with other denoisers put in, and then with everything attached."""
        pipe = self.build(seed)
        for name, denoiser in (denoisers or {}).items():
            setattr(pipe, name, denoiser)
        self.attach(pipe)
        return quiet(pipe)

    def aligned(self, seed: int = 0) -> dict[str, nn.Module]:
        """Return aligned denoisers by component name, with nothing attached to them."""
        pipe = _built(self.build, seed)
        return {
            name: perturb(getattr(pipe, name), seed=i + 1, scale=0.05)
            for i, name in enumerate(self.denoisers)
        }

    def sample(
        self,
        pipe: DiffusionPipeline,
        prompts: Prompts = (0, 1),
        *,
        per_prompt: int = 1,
        seeds: Iterable[int] | None = None,
    ) -> Tensor:
        """Return the final latents, one row per image; image i is drawn with its own seed."""
        if seeds is None:
            seeds = range(11, 11 + len(prompts) * per_prompt)
        output = pipe(
            **self.call(prompts, per_prompt),
            num_inference_steps=self.steps,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="latent",
        )
        latents = output.frames if hasattr(output, "frames") else output.images
        assert isinstance(latents, Tensor)
        return latents


@cache
def _built(build: Callable[[int], DiffusionPipeline], seed: int) -> DiffusionPipeline:
    """Return a pipeline that is only copied from."""
    return build(seed)


def quiet(pipe: DiffusionPipeline) -> DiffusionPipeline:
    """Hide the progress bar and put every model into evaluation mode."""
    pipe.set_progress_bar_config(disable=True)
    for module in pipe.components.values():
        if isinstance(module, nn.Module):
            module.eval()
    return pipe


def embeddings(prompts: Prompts, *shape: int, salt: int) -> Tensor:
    """Return one seeded standard normal tensor per prompt; `salt` tells the encoders apart."""
    return torch.stack(
        [
            torch.randn(shape, generator=torch.Generator().manual_seed(1000 * salt + prompt))
            for prompt in prompts
        ]
    )


def padded_mask(prompts: Prompts, length: int) -> Tensor:
    """Return an attention mask that hides the last token of every prompt."""
    mask = torch.ones(len(prompts), length, dtype=torch.int64)
    mask[:, -1] = 0
    return mask


def once_per_image(call: dict[str, Any], per_prompt: int, count: str) -> dict[str, Any]:
    """Return a call that gives every tensor once per image, for pipelines that do not repeat them.

    Args:
        call: The arguments, with one row per prompt in every tensor.
        per_prompt: The number of images of every prompt.
        count: The name of the argument that says how many images a prompt gets.
    """
    rows = {
        name: value.repeat_interleave(per_prompt, dim=0) if isinstance(value, Tensor) else value
        for name, value in call.items()
    }
    return {**rows, count: 1}


def seeded(build: Callable[[], DiffusionPipeline]) -> Callable[[int], DiffusionPipeline]:
    """Return a builder that takes the seed of the weights and leaves the global state alone."""

    def build_seeded(seed: int) -> DiffusionPipeline:
        with seeded_weights(seed):
            pipe = build()
            _draw_uninitialised(pipe)
        return pipe

    return build_seeded


def _draw_uninitialised(pipe: DiffusionPipeline) -> None:
    """Draw the parameters that some models leave as zeros or as uninitialised memory.

    A parameter of zeros, such as a gate or a last layer, would hide that
    nothing reaches the output.
    """
    for name, module in pipe.components.items():
        if not isinstance(module, nn.Module) or not name.startswith(("unet", "transformer")):
            continue
        with torch.no_grad():
            for weight in module.parameters():
                if not torch.isfinite(weight).all() or (weight.abs() < 1e-30).all():
                    weight.normal_(std=0.1)
