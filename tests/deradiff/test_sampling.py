"""Algorithm 1 where mixing outputs is not exact, and its divergence from the reference."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, EulerAncestralDiscreteScheduler, StableDiffusionPipeline
from torch import Tensor

from deradiff import Guidance, realigned_steps
from deradiff.dpo.unet_inputs import encode_prompts
from tiny_pipelines import SCHEDULE, ddpm, perturb, seeded_weights


class LearnedVariance(torch.nn.Module):
    """A denoiser that predicts noise and a variance fraction from the sample alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with seeded_weights(seed):
            self.conv = torch.nn.Conv2d(3, 6, 3, padding=1)

    def forward(
        self, sample: Tensor, timestep: Tensor, shift: float, *, return_dict: bool
    ) -> tuple[Tensor]:
        return ((self.conv(sample) + shift).tanh(),)


def run(models: list[torch.nn.Module], lam: float, scheduler: DDPMScheduler) -> Tensor:
    scheduler.set_timesteps(10)
    *_, last = realigned_steps(
        models,
        scheduler,
        torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(3)),
        lam=lam,
        guidance=Guidance({"shift": 0.2}, {"shift": -0.1}, scale=2.0),
        generator=torch.Generator().manual_seed(4),
    )
    return last.prev_sample


def stock(model: torch.nn.Module, scheduler: DDPMScheduler) -> Tensor:
    """diffusers' own loop for a learned variance: guidance moves the mean only."""
    scheduler.set_timesteps(10)
    sample = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    for t in scheduler.timesteps:
        with torch.no_grad():
            (condition,) = model(sample, t, 0.2, return_dict=False)
            (null,) = model(sample, t, -0.1, return_dict=False)
        mean = null[:, :3] + 2.0 * (condition[:, :3] - null[:, :3])
        output = torch.cat([mean, condition[:, 3:]], dim=1)
        sample = scheduler.step(output, t, sample, generator=generator).prev_sample
    return sample


def test_learned_variances_are_mixed_and_the_ends_are_the_models() -> None:
    scheduler = DDPMScheduler(variance_type="learned_range", clip_sample=True)
    models = [LearnedVariance(0), LearnedVariance(1)]
    for lam, model in zip((0.0, 1.0), models, strict=True):
        torch.testing.assert_close(
            run(models, lam, scheduler), stock(model, scheduler), rtol=1e-4, atol=1e-5
        )
    between = run(models, 0.5, scheduler)
    assert all((between - run(models, lam, scheduler)).abs().max() > 1e-2 for lam in (0.0, 1.0))


@pytest.mark.parametrize("kind", ["euler", "ddpm"])
def test_divergence_from_the_reference(sd15: StableDiffusionPipeline, kind: str) -> None:
    scheduler = EulerAncestralDiscreteScheduler(**SCHEDULE) if kind == "euler" else ddpm()
    scheduler.set_timesteps(5)
    aligned = perturb(sd15.unet, seed=1)
    guidance = Guidance(encode_prompts(sd15, ["a red three"]))

    def divergences(lam: float, other: torch.nn.Module) -> list[Tensor | None]:
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        return [
            step.kl_to_reference
            for step in realigned_steps(
                [sd15.unet, other],
                scheduler,
                latents * scheduler.init_noise_sigma,
                lam=lam,
                guidance=guidance,
                generator=torch.Generator().manual_seed(1),
            )
        ]

    for steps in (divergences(0.0, aligned), divergences(0.7, sd15.unet)):
        assert all(float(kl) == pytest.approx(0, abs=1e-6) for kl in steps[:-1] if kl is not None)
    moved = divergences(0.7, aligned)
    assert moved[-1] is None
    assert all(kl is not None and float(kl) > 0 for kl in moved[:-1])
    # the first step starts from the same latents, where the divergence is λ² ‖μ2 − μ1‖² / 2σ²
    first, half = moved[0], divergences(0.35, aligned)[0]
    assert first is not None
    assert half is not None
    torch.testing.assert_close(first, 4 * half, rtol=1e-3, atol=0)
