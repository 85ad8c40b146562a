"""A whole pipeline as aligned: what differs is found, and another schedule is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)

import tiny_pipelines
from deradiff import AnchorError, PipelineOptions
from deradiff.formats.noise_schedules import require_same_latents, require_same_schedule
from deradiff.loading import load_aligned, load_pipeline

from .files import output

SCHEDULE = tiny_pipelines.SCHEDULE


def saved(folder: Path, **components: Any) -> Path:
    pipe = tiny_pipelines.sd15()
    pipe.register_modules(unet=tiny_pipelines.perturb(pipe.unet, seed=1), **components)
    pipe.save_pretrained(folder)
    return folder


def test_only_the_denoiser_differs(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    aligned = load_aligned(sd15, saved(tmp_path), options=PipelineOptions())
    assert torch.equal(output(aligned), output(tiny_pipelines.perturb(sd15.unet, seed=1)))


def test_a_text_encoder_of_its_own(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    encoder = tiny_pipelines.perturb(sd15.text_encoder, seed=2)
    parts = load_aligned(sd15, saved(tmp_path, text_encoder=encoder), options=PipelineOptions())
    assert list(parts) == ["unet", "text_encoder"]
    for name, weight in encoder.state_dict().items():
        assert torch.equal(parts["text_encoder"].state_dict()[name], weight)


def test_a_vocabulary_of_its_own(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    tokenizer = tiny_pipelines.sd15().tokenizer
    tokenizer.add_tokens(["zebra"])
    parts = load_aligned(sd15, saved(tmp_path, tokenizer=tokenizer), options=PipelineOptions())
    assert list(parts) == ["unet", "tokenizer"]
    assert "zebra" in parts["tokenizer"].get_vocab()


def test_a_text_encoder_rounded_to_half_precision_is_the_same(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    half = tiny_pipelines.sd15().text_encoder.half()
    aligned = load_aligned(sd15, saved(tmp_path, text_encoder=half), options=PipelineOptions())
    assert isinstance(aligned, torch.nn.Module)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"prediction_type": "v_prediction"}, "prediction_type differs: the reference has epsilon"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr differs"),
        ({"beta_schedule": "linear"}, r"the noise schedule differs: .* alphas_cumprod\[\d+\]"),
        ({"num_train_timesteps": 500}, "num_train_timesteps differs: the reference has 1000"),
        ({"timestep_spacing": "trailing"}, "timestep_spacing differs: the reference has linspace"),
    ],
)
def test_another_schedule_is_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, scheduler: dict[str, Any], message: str
) -> None:
    other = EulerAncestralDiscreteScheduler(**{**SCHEDULE, **scheduler})
    folder = saved(tmp_path, scheduler=other)
    with pytest.raises(AnchorError, match=message):
        load_aligned(sd15, folder, options=PipelineOptions())


def test_schedulers_are_compared_by_what_they_compute() -> None:
    euler = EulerAncestralDiscreteScheduler(**SCHEDULE)
    require_same_schedule(euler, DDIMScheduler(**SCHEDULE))
    require_same_schedule(euler, EulerDiscreteScheduler(**SCHEDULE))
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    same = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    require_same_schedule(flow, same)
    with pytest.raises(AnchorError, match=r"shift differs: the reference has 3\.0, .* 1\.0"):
        require_same_schedule(flow, FlowMatchEulerDiscreteScheduler(shift=1.0))
    with pytest.raises(AnchorError, match=r"prediction_type differs: .* epsilon, .* flow"):
        require_same_schedule(euler, flow)


def test_the_schedule_compared_is_the_stored_one(tmp_path: Path, sd15_folder: Path) -> None:
    """A scheduler chosen for sampling does not make another pipeline of the reference."""
    options = PipelineOptions(
        scheduler="DDIMScheduler",
        scheduler_config={"clip_sample": False, "timestep_spacing": "trailing"},
    )
    pipe = load_pipeline(str(sd15_folder), options)
    load_aligned(pipe, saved(tmp_path), options=options)


def test_another_latent_space_is_refused(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    vae = tiny_pipelines.sd15().vae
    vae.register_to_config(scaling_factor=0.13025)
    with pytest.raises(
        AnchorError, match=r"VAE's scaling_factor differs: .* 0\.18215, .* 0\.13025"
    ):
        load_aligned(sd15, saved(tmp_path, vae=vae), options=PipelineOptions())
    require_same_latents(sd15.vae.config, dict(sd15.vae.config))


def test_several_denoisers_each_have_a_location(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    with pytest.raises(
        AnchorError, match="gives transformer, but StableDiffusionPipeline has the denoisers unet"
    ):
        load_aligned(sd15, {"transformer": tmp_path}, options=PipelineOptions())
    parts = load_aligned(sd15, {"unet": saved(tmp_path) / "unet"}, options=PipelineOptions())
    assert list(parts) == ["unet"]
