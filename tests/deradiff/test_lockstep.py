"""Calls whose guidance or steps are not affine in the model output, against Algorithm 1."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn

import tiny_pipelines
from deradiff import Guidance, InexactMixtureError, realign, realigned_steps
from deradiff.dpo.unet_inputs import encode_prompts
from tiny_pipelines import SCHEDULE, ddpm, perturb, seeded_weights

PROMPTS = ["a red three", "a blue seven"]
STEPS = 5
LAMS = [0.35, 1.4]


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (11, 12)]


def latents_of(pipe: Any, prompts: list[str] = PROMPTS, **kwargs: Any) -> Tensor:
    kwargs = {"generator": generators(), "guidance_scale": 3.0, **kwargs}
    latents: Tensor = pipe(
        prompts, num_inference_steps=STEPS, output_type="latent", **kwargs
    ).images
    return latents


def algorithm_1(pipe: Any, models: list[nn.Module], scheduler: Any, lam: Any, **kw: Any) -> Tensor:
    scheduler.set_timesteps(STEPS)
    draws = generators()
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=g) for g in draws])
    guidance = Guidance(encode_prompts(pipe, PROMPTS), encode_prompts(pipe, ["", ""]), scale=3.0)
    *_, last = realigned_steps(
        models,
        scheduler,
        noise * scheduler.init_noise_sigma,
        lam=lam,
        guidance=guidance,
        generator=draws,
        **kw,
    )
    return last.prev_sample


CLIPPING = {
    "ddim, clipped": (lambda: DDIMScheduler(**SCHEDULE, clip_sample=True), {}),
    "ddim with noise, clipped": (
        lambda: DDIMScheduler(**SCHEDULE, clip_sample=True),
        {"eta": 1.0},
    ),
    "ddpm, clipped": (lambda: ddpm(clip_sample=True), {}),
    "ddpm, thresholded": (lambda: ddpm(thresholding=True), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLIPPING)
@pytest.mark.parametrize("lam", LAMS)
def test_clipped_steps_are_mixed_by_theorem_1(
    sd15: StableDiffusionPipeline, kind: str, lam: float
) -> None:
    make, step_kwargs = CLIPPING[kind]
    sd15.scheduler = make()
    aligned = perturb(sd15.unet, seed=1, scale=0.1)
    with realign(sd15, aligned, lam) as realignment:
        found = latents_of(sd15, **step_kwargs)
        assert realignment.way == "reverse steps mixed"
    expected = algorithm_1(sd15, [sd15.unet, aligned], make(), lam, **step_kwargs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # Mixing model outputs would give something else.
    with realign(sd15, aligned, lam, probe=False):
        unchecked = latents_of(sd15, **step_kwargs)
    assert (unchecked - expected).abs().max() > 1e-3


def test_several_aligned_models_and_lams_by_the_step(sd15: StableDiffusionPipeline) -> None:
    """Appendix A.4, at clipped steps."""
    models = [perturb(sd15.unet, seed=seed, scale=0.1) for seed in (1, 2)]
    make = lambda: DDIMScheduler(**SCHEDULE, clip_sample=True)  # noqa: E731
    sd15.scheduler = make()
    with realign(sd15, models, [0.3, 0.5]) as realignment:
        found = latents_of(sd15)
        assert realignment.way == "reverse steps mixed"
        realignment.lam = lambda timestep: [0.3, 0.5]
        assert torch.equal(latents_of(sd15), found)
        realignment.lam = lambda timestep: [0.0, 1.0]
        second = latents_of(sd15)
    expected = algorithm_1(sd15, [sd15.unet, *models], make(), [0.3, 0.5])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with realign(sd15, models[1], 1.0):
        torch.testing.assert_close(second, latents_of(sd15), rtol=1e-5, atol=1e-5)


def test_guidance_rescale_is_applied_to_each_model(sdxl: StableDiffusionXLPipeline) -> None:
    """One deterministic step is affine, so that its ends can be mixed by hand."""
    sdxl.scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False)
    aligned = perturb(sdxl.unet, seed=1, scale=0.1)
    call = {"guidance_rescale": 0.7, "num_inference_steps": 1}

    def one_step(**kwargs: Any) -> Tensor:
        latents: Tensor = sdxl(
            PROMPTS, generator=generators(), output_type="latent", **call, **kwargs
        ).images
        return latents

    with realign(sdxl, aligned, 0.0) as realignment:
        reference = one_step()
        realignment.lam = 1.0
        aligned_only = one_step()
        realignment.lam = 0.4
        found = one_step()
        assert realignment.way == "guided, then mixed"
        realignment.lam = torch.tensor([0.4, 1.0])
        per_image = one_step()
        # Without the rescaling, the cheaper way is exact.
        realignment.lam = 0.4
        sdxl(PROMPTS, generator=generators(), output_type="latent", num_inference_steps=1)
        assert realignment.way == "model outputs mixed"
    expected = torch.lerp(reference, aligned_only, 0.4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(per_image, torch.stack([expected[0], aligned_only[1]]))


def test_where_both_ways_are_exact_they_agree(sd15: StableDiffusionPipeline) -> None:
    """A multistep scheduler and one with noise, λ by the step, and callbacks."""
    seen: list[int] = []

    def look(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        return kwargs

    for scheduler in (
        DPMSolverMultistepScheduler(**SCHEDULE),
        EulerAncestralDiscreteScheduler(**SCHEDULE),
    ):
        sd15.scheduler = scheduler
        aligned = perturb(sd15.unet, seed=1)
        with realign(sd15, aligned, lambda t: t / 1000) as realignment:
            hooked = latents_of(sd15)
            assert realignment.way == "model outputs mixed"
        # The aligned pipeline's own tokenizer counts as a component of its own.
        whole = {"unet": aligned, "tokenizer": sd15.tokenizer}
        with realign(sd15, whole, lambda t: t / 1000) as realignment:
            in_lockstep = latents_of(sd15, callback_on_step_end=look)
            assert realignment.way == "guided, then mixed"
        torch.testing.assert_close(hooked, in_lockstep, rtol=1e-4, atol=1e-4)
        assert seen == list(range(STEPS))
        seen.clear()


def test_an_aligned_pipeline_with_its_own_text_encoder(sd15: StableDiffusionPipeline) -> None:
    text_encoder = perturb(sd15.text_encoder, seed=4, scale=0.3)
    aligned = perturb(sd15.unet, seed=1)
    whole = type(sd15)(
        **{**sd15.components, "unet": aligned, "text_encoder": text_encoder},
        requires_safety_checker=False,
    )
    whole.set_progress_bar_config(disable=True)
    reference, expected = latents_of(sd15), latents_of(whole)
    with realign(sd15, {"unet": aligned, "text_encoder": text_encoder}, 1.0) as realignment:
        assert torch.equal(latents_of(sd15), expected)
        realignment.lam = 0.0
        assert torch.equal(latents_of(sd15), reference)
        realignment.lam = 0.5
        assert not torch.allclose(latents_of(sd15), reference, atol=1e-4)
        embeddings = torch.zeros(2, 77, tiny_pipelines.TEXT_WIDTH)
        with pytest.raises(InexactMixtureError, match="prompt_embeds given"):
            sd15(prompt_embeds=embeddings, num_inference_steps=2, guidance_scale=1.0)


def test_a_callback_that_changes_the_latents_is_refused_in_lockstep(
    sd15: StableDiffusionPipeline,
) -> None:
    sd15.scheduler = DDIMScheduler(**SCHEDULE, clip_sample=True)

    def change(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"latents": kwargs["latents"] * 0.5}

    with realign(sd15, perturb(sd15.unet, seed=1), 0.5):
        with pytest.raises(InexactMixtureError, match="callback"):
            latents_of(sd15, callback_on_step_end=change)
        # The pipeline is as good as before.
        assert latents_of(sd15).isfinite().all()


def test_errors_and_interrupts_end_every_call(sd15: StableDiffusionPipeline) -> None:
    sd15.scheduler = DDIMScheduler(**SCHEDULE, clip_sample=True)

    def interrupt(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with realign(sd15, perturb(sd15.unet, seed=1), 0.5):
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            latents_of(sd15, callback_on_step_end=interrupt)
        assert threading.active_count() == before


def test_lam_may_not_leave_an_end_unmeasured(sd15: StableDiffusionPipeline) -> None:
    with realign(sd15, perturb(sd15.unet, seed=1), 1.0) as realignment:

        def half(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            realignment.lam = 0.5
            return kwargs

        with pytest.raises(InexactMixtureError, match="exactly 0 or 1 when the call began"):
            latents_of(sd15, callback_on_step_end=half)


@pytest.mark.parametrize("lam", [0.35, 0.9])
def test_learned_variances_are_mixed_with_their_steps(lam: float) -> None:
    """A pipeline without guidance whose denoiser predicts the variance too."""
    from diffusers import DiffusionPipeline

    class Unguided(DiffusionPipeline):
        def __init__(self, unet: Any, scheduler: Any) -> None:
            super().__init__()
            self.register_modules(unet=unet, scheduler=scheduler)

        @torch.no_grad()
        def __call__(self, num_inference_steps: int, generator: Any = None) -> Tensor:
            self.scheduler.set_timesteps(num_inference_steps)
            sample = torch.cat([torch.randn(1, 4, 8, 8, generator=g) for g in generator])
            condition = torch.zeros(2, 3, tiny_pipelines.TEXT_WIDTH)
            for t in self.scheduler.timesteps:
                output = self.unet(sample, t, encoder_hidden_states=condition).sample
                sample = self.scheduler.step(output, t, sample, generator=generator).prev_sample
            return sample

    with seeded_weights(0):
        unet = UNet2DConditionModel(
            sample_size=8,
            out_channels=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,
            norm_num_groups=4,
            cross_attention_dim=tiny_pipelines.TEXT_WIDTH,
        ).eval()
    aligned = perturb(unet, seed=1, scale=0.05)
    make: Callable[[], Any] = lambda: ddpm(variance_type="learned_range")  # noqa: E731
    pipe = Unguided(unet, make())
    with realign(pipe, aligned, lam) as realignment:
        found = pipe(STEPS, generator=generators())
        assert realignment.way == "reverse steps mixed"
    scheduler = make()
    scheduler.set_timesteps(STEPS)
    draws = generators()
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=g) for g in draws])
    condition = {"encoder_hidden_states": torch.zeros(2, 3, tiny_pipelines.TEXT_WIDTH)}
    *_, last = realigned_steps(
        [unet, aligned], scheduler, noise, lam=lam, guidance=Guidance(condition), generator=draws
    )
    torch.testing.assert_close(found, last.prev_sample, rtol=1e-4, atol=1e-4)
