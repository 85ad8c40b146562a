"""A whole pipeline as aligned: what differs is found, and another schedule is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EDMEulerScheduler,
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

pytestmark = pytest.mark.slow

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
        ({"timestep_spacing": "leading"}, "timestep_spacing differs"),
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
    with pytest.raises(
        AnchorError, match=r"the kind of noise differs: .* diffusion, .* flow matching"
    ):
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


def test_the_noise_of_edm_is_a_kind_of_its_own() -> None:
    euler, edm = EulerAncestralDiscreteScheduler(**SCHEDULE), EDMEulerScheduler()
    for reference, aligned in ((euler, edm), (edm, euler)):
        with pytest.raises(AnchorError, match="the kind of noise differs"):
            require_same_schedule(reference, aligned)
    require_same_schedule(edm, EDMEulerScheduler())
    with pytest.raises(AnchorError, match=r"sigma_max differs: .* 80\.0, .* 700\.0"):
        require_same_schedule(edm, EDMEulerScheduler(sigma_max=700.0))


@pytest.mark.parametrize(
    ("common", "setting"),
    [
        ({}, {"num_train_timesteps": 500}),
        ({}, {"use_dynamic_shifting": True}),
        ({}, {"shift_terminal": 0.1}),
        ({}, {"invert_sigmas": True}),
        ({"use_dynamic_shifting": True}, {"base_shift": 1.0}),
        ({"use_dynamic_shifting": True}, {"max_shift": 3.0}),
        ({"use_dynamic_shifting": True}, {"time_shift_type": "linear"}),
    ],
)
def test_another_flow_is_refused(common: dict[str, Any], setting: dict[str, Any]) -> None:
    reference = FlowMatchEulerDiscreteScheduler(**common)
    require_same_schedule(reference, FlowMatchEulerDiscreteScheduler(**common))
    other = FlowMatchEulerDiscreteScheduler(**common, **setting)
    with pytest.raises(AnchorError, match=rf"{next(iter(setting))} differs"):
        require_same_schedule(reference, other)
    require_same_schedule(reference, other, chosen=list(setting))


def test_a_text_encoder_with_another_configuration_is_its_own(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    """The weights are the same, but the encoder computes something else with them."""
    file = saved(tmp_path) / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_act": "relu"}))
    parts = load_aligned(sd15, tmp_path, options=PipelineOptions())
    assert list(parts) == ["unet", "text_encoder"]
    assert parts["text_encoder"].config.hidden_act == "relu"


def test_a_component_that_only_one_side_has_is_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    for number, (own, other, owner) in enumerate(
        [(None, sd15.text_encoder, "the aligned"), (sd15.text_encoder, None, "the reference's")]
    ):
        folder = saved(tmp_path / str(number), text_encoder=other)
        pipe = tiny_pipelines.sd15()
        pipe.register_modules(text_encoder=own)
        with pytest.raises(AnchorError, match=f"only {owner} pipeline has a text_encoder"):
            load_aligned(pipe, folder, options=PipelineOptions())


def test_a_setting_of_the_sampler_chosen_for_both_is_not_compared(
    tmp_path: Path, sd15_folder: Path
) -> None:
    other = EulerAncestralDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing")
    saved(tmp_path, scheduler=other)
    for options in (
        PipelineOptions(scheduler_config={"timestep_spacing": "trailing"}),
        PipelineOptions(scheduler="EulerDiscreteScheduler"),
    ):
        load_aligned(load_pipeline(str(sd15_folder), options), tmp_path, options=options)


def test_a_vae_whose_configuration_leaves_out_its_defaults(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    """Early versions of diffusers did not write the scaling factor, which is then the default."""
    file = saved(tmp_path) / "vae" / "config.json"
    config = json.loads(file.read_text())
    assert config.pop("scaling_factor") == 0.18215
    file.write_text(json.dumps(config))
    load_aligned(sd15, tmp_path, options=PipelineOptions())


def test_a_whole_pipeline_with_a_single_variant(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    pipe = tiny_pipelines.sd15()
    pipe.register_modules(
        unet=tiny_pipelines.perturb(pipe.unet, seed=1),
        text_encoder=tiny_pipelines.perturb(pipe.text_encoder, seed=2),
    )
    pipe.to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    parts = load_aligned(sd15, tmp_path, options=PipelineOptions())
    assert list(parts) == ["unet", "text_encoder"]
    for name, found in parts.items():
        for key, weight in pipe.components[name].state_dict().items():
            assert torch.equal(found.state_dict()[key], weight.to(found.state_dict()[key]))
