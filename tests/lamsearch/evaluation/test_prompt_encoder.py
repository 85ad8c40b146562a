"""A prompt's embeddings are reused only where the pipeline's call then gives the same images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from lamsearch.evaluation.image_plan import image_plan
from lamsearch.evaluation.prompt_embeddings import embedding_names
from lamsearch.evaluation.prompt_encoder import Prompts
from tiny_pipelines.families import FAMILIES
from tiny_pipelines.family import Family
from tiny_pipelines.inputs import TEXTS
from tiny_pipelines.videos import wan_with_text

PLAN = image_plan(list(TEXTS), 2, seed=1)
WITH_TEXT = [family for family in FAMILIES if "prompt" in family.call((0,), 1)]


def latents_of(pipe: Any, **given: Any) -> Tensor:
    draws = [torch.Generator().manual_seed(seed) for seed in (11, 12)]
    output = pipe(**given, generator=draws, output_type="latent")
    latents: Tensor = output.frames if hasattr(output, "frames") else output.images
    return latents


def both_ways(pipe: Any, negative: str | None = None, **rest: Any) -> tuple[Tensor, Tensor]:
    """Return the latents from what `Prompts` gives to the call, and those from the texts."""
    given = Prompts(pipe, PLAN, negative).arguments(PLAN)
    texts: dict[str, Any] = {"prompt": [image.prompt for image in PLAN]}
    if negative is not None:
        texts["negative_prompt"] = [negative] * len(PLAN)
    return latents_of(pipe, **given, **rest), latents_of(pipe, **texts, **rest)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")
@pytest.mark.parametrize("family", WITH_TEXT, ids=lambda family: family.name)
def test_images_are_those_of_the_texts(family: Family) -> None:
    rest = family.call((0, 1), 1)
    # Those that `lamsearch` does not give to a call.
    others = ("prompt", "negative_prompt", "max_sequence_length")
    given = {name: value for name, value in rest.items() if name not in others}
    found, expected = both_ways(family.pipeline(), num_inference_steps=family.steps, **given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Stable Diffusion 1.5", ("prompt_embeds", "negative_prompt_embeds")),
        (
            "SDXL",
            (
                "prompt_embeds",
                "negative_prompt_embeds",
                "pooled_prompt_embeds",
                "negative_pooled_prompt_embeds",
            ),
        ),
        ("Flux.1 dev", ("prompt_embeds", "pooled_prompt_embeds")),
    ],
)
def test_fixed_lengths_are_encoded_once(name: str, expected: tuple[str, ...]) -> None:
    family = next(family for family in WITH_TEXT if family.name == name)
    assert embedding_names(family.pipeline(), TEXTS) == expected


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_negative_prompt_is_encoded_too(name: str, request: pytest.FixtureRequest) -> None:
    pipe = request.getfixturevalue(name)
    assert "prompt" not in Prompts(pipe, PLAN, "blue").arguments(PLAN)
    found, expected = both_ways(pipe, "blue", num_inference_steps=2, guidance_scale=3.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.equal(found, both_ways(pipe, num_inference_steps=2, guidance_scale=3.0)[0])


def test_an_encoder_is_called_as_the_call_does_it() -> None:
    """Wan encodes 226 tokens by default, but 512 in a call."""
    size = {"height": 16, "width": 16, "num_frames": 1, "num_inference_steps": 1}
    found, expected = both_ways(wan_with_text(), guidance_scale=3.0, **size)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class _Encoder(DiffusionPipeline):
    """What a pipeline shows of its encoder."""

    def __call__(
        self, prompt: Any = None, prompt_embeds: Any = None, negative_prompt_embeds: Any = None
    ) -> None: ...


class _Swapped(_Encoder):
    def encode_prompt(
        self, prompt: Any, prompt_embeds: Any = None, negative_prompt_embeds: Any = None
    ) -> tuple[Tensor, Tensor]:
        rows = torch.tensor([[float(len(text))] for text in prompt or ()])
        given = rows if prompt_embeds is None else prompt_embeds
        negative = -rows if negative_prompt_embeds is None else negative_prompt_embeds
        return negative, given


class _Padded(_Encoder):
    def encode_prompt(self, prompt: Any, prompt_embeds: Any = None) -> Tensor:
        if prompt_embeds is not None:
            return prompt_embeds
        return torch.zeros(len(prompt), max(map(len, prompt)), 3)


class _Refusing(_Encoder):
    def encode_prompt(self, prompt: Any, prompt_embeds: Any = None) -> Tensor:
        if prompt is None:
            raise ValueError("a prompt is needed")
        return torch.zeros(len(prompt), 3)


@pytest.mark.parametrize("pipeline", [_Swapped, _Padded, _Refusing, _Encoder])
def test_any_doubt_leaves_the_texts_to_the_pipeline(pipeline: type) -> None:
    arguments = Prompts(pipeline(), PLAN, None).arguments(PLAN)
    assert arguments == {"prompt": [image.prompt for image in PLAN]}
