"""Realignment: the hooked stock pipeline against Algorithm 1 and against the models themselves."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor, nn

import tiny_pipelines
from deradiff import Guidance, realign, realigned_steps
from deradiff.dpo.unet_inputs import encode_prompts
from tiny_pipelines import SCHEDULE, ddpm, flux_prompt, perturb, seeded_weights

PROMPTS = ["a red three", "a blue seven"]
STEPS = 6
SCHEDULERS = {
    "euler": (lambda: EulerAncestralDiscreteScheduler(**SCHEDULE), {}),
    "ddim-0": (lambda: DDIMScheduler(**SCHEDULE, clip_sample=False), {"eta": 0.0}),
    "ddim-1": (lambda: DDIMScheduler(**SCHEDULE, clip_sample=False), {"eta": 1.0}),
    "ddpm": (ddpm, {}),
}


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (11, 12)]


def latents_of(pipe: DiffusionPipeline, prompts: list[str] = PROMPTS, **kwargs: Any) -> Tensor:
    kwargs = {"generator": generators(), "guidance_scale": 3.0, **kwargs}
    latents: Tensor = pipe(
        prompts, num_inference_steps=STEPS, output_type="latent", **kwargs
    ).images
    return latents


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("lam", [0.0, 0.35, 1.0, 1.4])
def test_hooked_pipeline_equals_algorithm_1(
    sd15: StableDiffusionPipeline, kind: str, lam: float
) -> None:
    make, step_kwargs = SCHEDULERS[kind]
    sd15.scheduler = make()
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, lam):
        hooked = latents_of(sd15, **step_kwargs)

    scheduler = make()
    scheduler.set_timesteps(STEPS)
    draws = generators()
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=g) for g in draws])
    guidance = Guidance(encode_prompts(sd15, PROMPTS), encode_prompts(sd15, ["", ""]), scale=3.0)
    *_, last = realigned_steps(
        [sd15.unet, aligned],
        scheduler,
        noise * scheduler.init_noise_sigma,
        lam=lam,
        guidance=guidance,
        generator=draws,
        **step_kwargs,
    )
    torch.testing.assert_close(hooked, last.prev_sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_weights_0_and_1_are_the_stock_pipelines_bit_for_bit(
    family: str, kind: str, request: pytest.FixtureRequest
) -> None:
    pipe = request.getfixturevalue(family)
    make, step_kwargs = SCHEDULERS[kind]
    pipe.scheduler = make()
    aligned = perturb(pipe.unet, seed=1)
    reference_only = latents_of(pipe, **step_kwargs)
    stock = type(pipe)(**{**pipe.components, "unet": aligned})
    stock.set_progress_bar_config(disable=True)
    aligned_only = latents_of(stock, **step_kwargs)
    assert not torch.equal(reference_only, aligned_only)
    with realign(pipe, aligned, 0.0) as realignment:
        assert torch.equal(latents_of(pipe, **step_kwargs), reference_only)
        realignment.lam = 1.0
        assert torch.equal(latents_of(pipe, **step_kwargs), aligned_only)


def test_sdxl_mixes(sdxl: StableDiffusionXLPipeline) -> None:
    aligned = perturb(sdxl.unet, seed=1)
    with realign(sdxl, aligned, 0.5):
        half = latents_of(sdxl)
    with realign(sdxl, perturb(sdxl.unet, seed=1, scale=0.0), 0.5):
        identical = latents_of(sdxl)
    torch.testing.assert_close(identical, latents_of(sdxl), rtol=1e-5, atol=1e-5)
    assert (half - identical).abs().max() > 1e-3


def test_weight_0_costs_no_forward_pass(sd15: StableDiffusionPipeline) -> None:
    aligned = perturb(sd15.unet, seed=1)
    calls: list[nn.Module] = []

    def note(module: nn.Module, *_: object) -> None:
        calls.append(module)

    layers = [sd15.unet.conv_in, aligned.conv_in]
    for layer in layers:
        layer.register_forward_hook(note)
    with realign(sd15, aligned, 0.5) as realignment:
        latents_of(sd15)  # probed once
        for lam, expected in ((0.0, (STEPS, 0)), (1.0, (0, STEPS)), (0.5, (STEPS, STEPS))):
            calls.clear()
            realignment.lam = lam
            latents_of(sd15)
            assert tuple(map(calls.count, layers)) == expected


def test_one_weight_per_image_equals_one_call_each(sd15: StableDiffusionPipeline) -> None:
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, torch.tensor([0.2, 0.9])) as realignment:
        together = latents_of(sd15)
        for i, lam in enumerate((0.2, 0.9)):
            realignment.lam = lam
            alone = latents_of(sd15, PROMPTS[i : i + 1], generator=generators()[i : i + 1])
            torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-4)
        realignment.lam = torch.tensor([0.1, 0.2, 0.3])
        with pytest.raises(ValueError, match="3 weights for a batch of 4"):
            latents_of(sd15)


def test_lam_as_a_function_of_the_step_equals_setting_it_in_a_callback(
    sd15: StableDiffusionPipeline,
) -> None:
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, lambda timestep: timestep / 1000):
        scheduled = latents_of(sd15)
    sd15.scheduler.set_timesteps(STEPS)
    lams = [float(t) / 1000 for t in sd15.scheduler.timesteps] + [0.0]
    with realign(sd15, aligned, lams[0]) as realignment:

        def set_next(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            realignment.lam = lams[step + 1]
            return kwargs

        by_callback = latents_of(sd15, callback_on_step_end=set_next)
    assert torch.equal(scheduled, by_callback)


def test_several_aligned_models(sd15: StableDiffusionPipeline) -> None:
    first, second = perturb(sd15.unet, seed=1), perturb(sd15.unet, seed=2)
    with realign(sd15, first, 0.6):
        alone = latents_of(sd15)
    with realign(sd15, [first, second], [0.6, 0.0]) as realignment:
        torch.testing.assert_close(latents_of(sd15), alone)
        realignment.lam = [0.0, 1.0]
        with_second = latents_of(sd15)
        with pytest.raises(ValueError, match="1 lam given for 2"):
            realignment.lam = 0.5
    with realign(sd15, second, 1.0):
        assert torch.equal(with_second, latents_of(sd15))


def test_remove_restores_the_pipeline_exactly(sd15: StableDiffusionPipeline) -> None:
    before, attributes = latents_of(sd15), dict(vars(sd15.unet))
    realignment = realign(sd15, perturb(sd15.unet, seed=1), 0.7)
    with pytest.raises(ValueError, match="already realigned"):
        realign(sd15, perturb(sd15.unet, seed=1), 0.7)
    realignment.remove()
    realignment.remove()
    assert vars(sd15.unet) == attributes
    assert torch.equal(latents_of(sd15), before)


def add_adapters(pipe: DiffusionPipeline, *names: str) -> None:
    from peft import LoraConfig

    for seed, name in enumerate(names):
        config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
        with seeded_weights(seed):
            pipe.unet.add_adapter(config, adapter_name=name)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
def test_lora_adapter_equals_the_fused_model(sd15: StableDiffusionPipeline) -> None:
    reference_only = latents_of(sd15)
    add_adapters(sd15, "vivid", "plain")
    sd15.unet.set_adapter("vivid")
    with_adapter = latents_of(sd15)
    fused = perturb(sd15.unet, seed=0, scale=0.0)
    fused.fuse_lora(adapter_names=["vivid"])
    fused.unload_lora()
    sd15.unet.disable_adapters()
    before = latents_of(sd15)
    sd15.unet.requires_grad_(False)

    with realign(sd15, "vivid", 0.0) as realignment:
        assert torch.equal(latents_of(sd15), reference_only)
        realignment.lam = 1.0
        assert torch.equal(latents_of(sd15), with_adapter)
        realignment.lam = 0.4
        mixed = latents_of(sd15)
    assert torch.equal(latents_of(sd15), before)
    assert not any(weight.requires_grad for weight in sd15.unet.parameters())
    sd15.unet.disable_adapters()
    with realign(sd15, fused, 0.4):
        torch.testing.assert_close(mixed, latents_of(sd15), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"no adapter named \['absent'\].*\['plain', 'vivid'\]"):
        realign(sd15, "absent", 0.4)


def test_offloading_enabled_after_realigning_survives_the_removal(
    sd15: StableDiffusionPipeline,
) -> None:
    """accelerate wraps the forward that it finds, which is the mixture's."""
    before = latents_of(sd15)
    realignment = realign(sd15, perturb(sd15.unet, seed=1), 1.0)
    calls: list[int] = []

    class Offload(ModelHook):
        def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return args, kwargs

    add_hook_to_module(sd15.unet, Offload())
    assert not torch.equal(latents_of(sd15), before)
    realignment.remove()
    calls.clear()
    assert torch.equal(latents_of(sd15), before)
    assert len(calls) == STEPS
    remove_hook_from_module(sd15.unet)
    assert torch.equal(latents_of(sd15), before)


def test_a_transformer_under_flow_matching() -> None:
    pipe = tiny_pipelines.flux()
    aligned = perturb(pipe.transformer, seed=1, scale=0.05)

    def sample(denoiser: nn.Module | None = None) -> Tensor:
        used = (
            pipe if denoiser is None else type(pipe)(**{**pipe.components, "transformer": denoiser})
        )
        used.set_progress_bar_config(disable=True)
        latents: Tensor = used(
            **flux_prompt(2),
            height=16,
            width=16,
            num_inference_steps=4,
            generator=generators(),
            output_type="latent",
        ).images
        return latents

    ends = sample(), sample(aligned)
    with realign(pipe, aligned, 0.0) as realignment:
        assert torch.equal(sample(), ends[0])
        realignment.lam = 1.0
        assert torch.equal(sample(), ends[1])
        realignment.lam = torch.tensor([0.0, 1.0])
        torch.testing.assert_close(sample(), torch.stack([ends[0][0], ends[1][1]]))


@torch.no_grad()
def test_the_denoiser_may_return_its_own_output_class(sd15: StableDiffusionPipeline) -> None:
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor(500.0))
    condition = encode_prompts(sd15, PROMPTS)
    with realign(sd15, perturb(sd15.unet, seed=1), 0.5, probe=False):
        output = sd15.unet(*inputs, **condition)
        (plain,) = sd15.unet(*inputs, **condition, return_dict=False)
    assert type(output).__name__ == "UNet2DConditionOutput"
    assert torch.equal(output.sample, plain)


class Unread(Tensor):
    """A timestep on a GPU, so to speak: to read it would wait for all queued work."""

    def __float__(self) -> float:
        raise AssertionError("the timestep was read")


@torch.no_grad()
def test_only_a_function_of_the_timestep_reads_it(sd15: StableDiffusionPipeline) -> None:
    sample, timestep = torch.randn(2, 4, 8, 8), torch.tensor(500.0).as_subclass(Unread)
    condition = encode_prompts(sd15, PROMPTS)
    with realign(sd15, perturb(sd15.unet, seed=1), 0.5, probe=False) as realignment:
        sd15.unet(sample, timestep, **condition)
        sd15.unet(sample, timestep=timestep, **condition)
        realignment.lam = lambda timestep: 0.5
        with pytest.raises(AssertionError, match="was read"):
            sd15.unet(sample, timestep, **condition)


def test_a_removed_model_is_freed_at_once(sd15: StableDiffusionPipeline) -> None:
    aligned = perturb(sd15.unet, seed=1)
    alive = weakref.ref(aligned)
    with realign(sd15, aligned, 0.5):
        sd15("a red three", num_inference_steps=1, output_type="latent")
    gc.disable()
    try:
        del aligned
        assert alive() is None
    finally:
        gc.enable()
