"""Diffusion-DPO with flow matching: SD3 and Flux against the formulas written out."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from transformers import T5Config, T5EncoderModel

import tiny_pipelines
from deradiff import DPOSettings, PreferencePair, diffusion_dpo_loss, load_anchor
from deradiff.dpo import DPOStep, train
from deradiff.dpo.data import NoisedPairSource
from deradiff.dpo.flow_inputs import FlowInputs, rectified_flow
from deradiff.dpo.noised_pairs import NoisedPairs
from deradiff.dpo.pairs import epoch_order
from tiny_clip import pictures, tiny_tokenizer
from tiny_pipelines.families import FAMILIES

PAIRS = [
    PreferencePair(prompt, Image.new("RGB", (16, 16), (200, 30, 30)), rejected)
    for prompt, rejected in zip(["red", "a red three"] * 4, pictures(8, (16, 16)), strict=True)
]
SMALL = DPOSettings(
    beta=500.0, learning_rate=3e-3, batch_size=8, accumulation=1, steps=4, warmup=0,
    checkpoint_every=2,
)  # fmt: skip
LORA = dataclasses.replace(SMALL, lora_rank=2, learning_rate=2e-2, steps=6)
SHIFT = 0.1


def pipeline(name: str) -> DiffusionPipeline:
    """Return a tiny pipeline whose VAE has a shift, as SD3's and Flux's have, and SD3 its T5."""
    pipe = next(family for family in FAMILIES if family.name == name).pipeline()
    pipe.vae.register_to_config(shift_factor=SHIFT)
    if name == "Stable Diffusion 3":  # without a T5 it could be saved, but not loaded
        with tiny_pipelines.seeded_weights(0):
            encoder = t5(d_model=pipe.transformer.config.joint_attention_dim).eval()
        pipe.register_modules(text_encoder_3=encoder, tokenizer_3=tiny_tokenizer())
    return pipe


def t5(d_model: int) -> T5EncoderModel:
    config = {"vocab_size": len(tiny_tokenizer()), "d_kv": 8, "d_ff": 16, "num_heads": 2}
    return T5EncoderModel(T5Config(d_model=d_model, num_layers=1, **config))


def flow_inputs(pipe: DiffusionPipeline, **overrides: Any) -> FlowInputs:
    settings = dataclasses.replace(SMALL, **overrides)
    return FlowInputs(pipe, "transformer", settings=settings, example=PAIRS[0])


def first_batch(pipe: DiffusionPipeline, **overrides: Any) -> NoisedPairs:
    inputs = flow_inputs(pipe, **overrides)
    return NoisedPairSource(pipe, PAIRS, batch_size=2, seed=0, inputs=inputs).batch(0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.rglob("*.safetensors")))


def packed(latents: torch.Tensor) -> torch.Tensor:
    """Return Flux's tokens, each the 2 x 2 neighbours of all channels, one by one."""
    batch, channels, height, width = latents.shape
    tokens = [
        latents[:, :, y : y + 2, x : x + 2].reshape(batch, 4 * channels)
        for y in range(0, height, 2)
        for x in range(0, width, 2)
    ]
    return torch.stack(tokens, dim=1)


def unpacked(tokens: torch.Tensor, height: int = 8, width: int = 8) -> torch.Tensor:
    """Return the latents (B, C, height, width) of tokens."""
    latents = torch.empty(tokens.shape[0], tokens.shape[2] // 4, height, width)
    for n in range(tokens.shape[1]):
        y, x = 2 * (n // (width // 2)), 2 * (n % (width // 2))
        latents[:, :, y : y + 2, x : x + 2] = tokens[:, n].unflatten(1, (-1, 2, 2))
    return latents


def first_pairs() -> list[PreferencePair]:
    """Return the pairs of the first batch."""
    return [PAIRS[i] for i in epoch_order(PAIRS, seed=0, epoch=0)[:2]]


def encoded(pipe: DiffusionPipeline) -> torch.Tensor:
    """Return the latents of the first batch's images, preferred ones first."""
    pairs = first_pairs()
    images = [pair.preferred for pair in pairs] + [pair.rejected for pair in pairs]
    mode = pipe.vae.encode(pipe.image_processor.preprocess(images)).latent_dist.mode()
    return (mode - SHIFT) * pipe.vae.config.scaling_factor


@pytest.mark.parametrize("name", ["Stable Diffusion 3", "Flux.1 dev"])
@torch.no_grad()
def test_inputs_and_target_are_those_of_rectified_flow(name: str) -> None:
    pipe = pipeline(name)
    batch, latents = first_batch(pipe), encoded(pipe)
    is_packed = batch.inputs.ndim == 3
    inputs, velocity = (
        (unpacked(batch.inputs), unpacked(batch.target)) if is_packed else batch[0::2][:2]
    )
    noise = velocity + latents  # the target is ε − x₀
    torch.testing.assert_close(noise[:2], noise[2:])  # shared within a pair
    torch.testing.assert_close(noise.std(), torch.tensor(1.0), atol=0.1, rtol=0)
    sigma = batch.timesteps if is_packed else batch.timesteps / 1000
    assert torch.equal(sigma[:2], sigma[2:])
    assert len(set(sigma.tolist())) == 2
    for i in range(4):
        torch.testing.assert_close(
            inputs[i], (1 - sigma[i]) * latents[i] + sigma[i] * noise[i], rtol=1e-5, atol=1e-5
        )
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    steps = scheduler.timesteps[[int((scheduler.sigmas - s).abs().argmin()) for s in sigma]]
    torch.testing.assert_close(
        inputs, scheduler.scale_noise(latents, steps, noise), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(packed(inputs), batch.inputs if is_packed else packed(batch.inputs))


@torch.no_grad()
def test_the_condition_is_that_of_the_pipelines_call() -> None:
    pipe = pipeline("Stable Diffusion 3")
    prompts = [pair.prompt for pair in first_pairs()] * 2
    condition = first_batch(pipe).condition
    embeds, _, pooled, _ = pipe.encode_prompt(
        prompts, prompts, prompts, do_classifier_free_guidance=False
    )
    assert torch.equal(condition["encoder_hidden_states"], embeds)
    assert torch.equal(condition["pooled_projections"], pooled)
    assert not {"hidden_states", "timestep", "return_dict"} & condition.keys()
    told = first_batch(pipeline("Flux.1 dev"), guidance_scale=3.5).condition
    assert told["guidance"].tolist() == [3.5] * 4
    assert told["img_ids"].shape == (16, 3)


@pytest.mark.parametrize("name", ["Stable Diffusion 3", "Flux.1 dev"])
def test_loss_is_the_formula_and_its_gradient_prefers_the_preferred(name: str) -> None:
    pipe = pipeline(name)
    batch = first_batch(pipe)
    model = tiny_pipelines.perturb(pipe.transformer, seed=1, scale=0.05)
    timestep = {"timestep": batch.timesteps, "return_dict": False}
    margins, beta = [], 7.0
    with torch.no_grad():
        outputs = [
            network(batch.inputs, **batch.condition, **timestep)[0]
            for network in (model, pipe.transformer)
        ]
        reference = batch.errors(pipe.transformer)
    for i in range(2):
        preferred, rejected = (
            [float((output[k] - batch.target[k]).square().mean()) for output in outputs]
            for k in (i, i + 2)
        )
        difference = (preferred[0] - preferred[1]) - (rejected[0] - rejected[1])
        margins.append(-beta / 2 * difference)
    loss, positive = diffusion_dpo_loss(batch.errors(model), reference, beta=beta)
    for i, margin in enumerate(margins):
        assert loss[i].item() == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-5)
        assert bool(positive[i]) == (margin > 0)

    # At the reference a small step down the loss's gradient makes the preferred images likelier.
    model = copy.deepcopy(pipe.transformer)
    loss, _ = diffusion_dpo_loss(batch.errors(model), reference, beta=beta)
    loss.mean().backward()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.grad is not None:
                weight -= 1e-2 * weight.grad
        moved = batch.errors(model)
    change = (moved[0] - reference[0]) - (moved[1] - reference[1])
    assert float(change.mean()) < 0


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SMALL, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("name", ["Stable Diffusion 3", "Flux.1 schnell"])
def test_training_learns_resumes_bit_for_bit_and_makes_an_anchor(
    tmp_path: Path, name: str, settings: DPOSettings
) -> None:
    pipe = pipeline(name)
    before = {key: weight.clone() for key, weight in pipe.transformer.state_dict().items()}
    steps: list[DPOStep] = []
    train(pipe, PAIRS, settings, output=tmp_path / "whole", progress=steps.append)
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1].loss < 0.95 * math.log(2)
    assert all(torch.equal(before[key], w) for key, w in pipe.transformer.state_dict().items())

    def stop(step: DPOStep) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pipe, PAIRS, settings, output=tmp_path / "torn", progress=stop)
    torn: list[DPOStep] = []
    train(pipe, PAIRS, settings, output=tmp_path / "torn", progress=torn.append)
    assert torn == steps[2:]
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "torn")
    assert all(torch.equal(resumed[key], weight) for key, weight in whole.items())

    pipe.save_pretrained(tmp_path / "reference")
    anchor = load_anchor(tmp_path / "reference", tmp_path / "whole", beta=500)
    assert isinstance(anchor.aligned, str) == (settings.lora_rank is not None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Stable Diffusion 3", (0, 1000, 1)),
        ("Flux.1 dev", (0, 1, 1)),
        ("Lumina Image 2.0", (1, -1, -1)),  # its time runs from noise to data
    ],
)
def test_conventions_are_measured(name: str, expected: tuple[float, float, float]) -> None:
    pipe = pipeline(name)
    scheduler = copy.deepcopy(vars(pipe.scheduler))
    assert flow_inputs(pipe)._convention == pytest.approx(expected, abs=1e-4)
    assert vars(pipe.scheduler).keys() == scheduler.keys()
    assert "forward" not in vars(pipe.transformer)
    assert "decode" not in vars(pipe.vae)


def test_steps_are_drawn_as_in_sd3() -> None:
    """Quartiles of a logit-normal, and of the uniform density, after SD3's shift of 3."""
    pipe = pipeline("Stable Diffusion 3")
    for sampling, place in (("logit_normal", 1 / (1 + math.exp(0.6745))), ("uniform", 0.25)):
        inputs = flow_inputs(pipe, timestep_sampling=sampling)
        drawn = inputs._drawn(20_000, torch.Generator().manual_seed(0))
        for quantile, low in ((0.25, place), (0.5, 0.5), (0.75, 1 - place)):
            expected = 3 * low / (1 + 2 * low)
            assert float(drawn.quantile(quantile)) == pytest.approx(expected, abs=0.01)


def test_rectified_flow_ends_at_data_and_noise() -> None:
    data, noise = torch.randn(2, 2, 3, 4, 4)
    assert torch.equal(rectified_flow(data, noise, torch.tensor([0.0, 1.0]))[0], data[0])
    assert torch.equal(rectified_flow(data, noise, torch.tensor([0.0, 1.0]))[1], noise[1])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("PixArt-α", {}, "has no unet and DPMSolverMultistepScheduler does not do flow matching"),
        ("Wan 2.2, two denoisers", {}, "has the denoisers transformer, transformer_2"),
        ("Flux.2 dev", {}, "has no VAE with a scaling_factor"),
        ("Flux.1 Kontext", {}, "a call with latents from its VAE has failed"),
        ("Stable Diffusion 3", {"guidance_scale": 3.0}, "does not give its denoiser the latents"),
        ("LongCat-Image", {"lora_rank": 2}, "saves no LoRA of its transformer"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    tmp_path: Path, name: str, overrides: dict[str, Any], message: str
) -> None:
    settings = dataclasses.replace(SMALL, **overrides)
    pipe = next(family for family in FAMILIES if family.name == name).pipeline()
    if name == "Stable Diffusion 3":
        pipe.vae.register_to_config(shift_factor=SHIFT)
    with pytest.raises(TypeError, match=message) as raised:
        train(pipe, PAIRS, settings, output=tmp_path)
    assert "\n" not in str(raised.value)


def test_another_scaling_than_the_pipelines_is_refused() -> None:
    pipe = pipeline("Stable Diffusion 3")
    call = type(pipe).__call__

    class Other(type(pipe)):  # type: ignore[misc]
        def __call__(self, *args: Any, latents: torch.Tensor, **kwargs: Any) -> Any:
            return call(self, *args, latents=2 * latents, **kwargs)

    pipe.__class__ = Other
    with pytest.raises(TypeError, match="does not give its denoiser the latents"):
        flow_inputs(pipe)
