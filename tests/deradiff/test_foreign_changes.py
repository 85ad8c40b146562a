"""What other code does to a realigned pipeline is followed, or refused; nothing is ignored."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from peft import LoraConfig
from torch import Tensor

from deradiff import InexactMixtureError, realign
from tiny_pipelines import SCHEDULE, perturb, seeded_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),
]
PROMPTS = ["a red three", "a blue seven"]


def latents_of(pipe: Any, **kwargs: Any) -> Tensor:
    given: dict[str, Any] = {
        "generator": [torch.Generator().manual_seed(seed) for seed in (1, 2)],
        "num_inference_steps": 3,
        "guidance_scale": 3.0,
        "output_type": "latent",
    }
    latents: Tensor = pipe(PROMPTS, **given | kwargs).images
    return latents


def add_lora(unet: Any, name: str, seed: int = 7) -> None:
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], init_lora_weights=False)
    with seeded_weights(seed):
        unet.add_adapter(config, name)


def test_offloading_before_realigning_is_not_lost(sd15: StableDiffusionPipeline) -> None:
    """diffusers takes accelerate's hooks off after each call, and ours with them."""
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, 1.0):
        expected = latents_of(sd15)
    sd15.enable_model_cpu_offload(device="cpu")
    with realign(sd15, aligned, 1.0):
        for _ in range(3):
            assert torch.equal(latents_of(sd15), expected)


def test_offloading_after_realigning(sd15: StableDiffusionPipeline) -> None:
    aligned = perturb(sd15.unet, seed=1)
    sd15.scheduler = DDIMScheduler(**SCHEDULE, clip_sample=True)
    with realign(sd15, aligned, 0.5):
        expected = latents_of(sd15)
        sd15.enable_model_cpu_offload(device="cpu")
        for _ in range(3):
            assert torch.equal(latents_of(sd15), expected)


def test_a_copied_or_changed_pipeline_is_refused(sd15: StableDiffusionPipeline) -> None:
    other = perturb(sd15.unet, seed=2)
    with realign(sd15, perturb(sd15.unet, seed=1), 0.5):
        with pytest.raises(InexactMixtureError, match="a copy of a realigned pipeline"):
            latents_of(copy.copy(sd15))
        sd15.unet, reference = other, sd15.unet
        with pytest.raises(InexactMixtureError, match="unet has been replaced"):
            latents_of(sd15)
        sd15.unet = reference
        latents_of(sd15)


def test_a_realignment_that_fails_leaves_nothing(sd15: StableDiffusionPipeline) -> None:
    before = latents_of(sd15)
    with pytest.raises(ValueError, match="no adapter named"):
        realign(sd15, [perturb(sd15.unet, seed=1), "absent"], [0.5, 0.5])
    assert torch.equal(latents_of(sd15), before)
    with realign(sd15, perturb(sd15.unet, seed=1), 0.5):
        assert not torch.equal(latents_of(sd15), before)


def test_adapters_that_change_meanwhile(sd15: StableDiffusionPipeline) -> None:
    add_lora(sd15.unet, "aligned")
    add_lora(sd15.unet, "style", seed=8)
    sd15.unet.set_adapters(["style", "aligned"])
    both = latents_of(sd15)
    sd15.unet.set_adapters(["aligned"])
    with realign(sd15, "aligned", 0.0) as realignment:
        latents_of(sd15)
        sd15.unet.set_adapters(["style"])
        realignment.lam = 1.0
        assert torch.equal(latents_of(sd15), both)
        sd15.unet.disable_adapters()
    assert all(
        module.disable_adapters
        for module in sd15.unet.modules()
        if hasattr(module, "disable_adapters") and hasattr(module, "base_layer")
    )
    sd15.unet.enable_adapters()
    with realign(sd15, "aligned", 1.0):
        sd15.unet.fuse_lora(adapter_names=["style"])
        with pytest.raises(ValueError, match=r"unfuse_lora\(\)"):
            latents_of(sd15)
        sd15.unet.unfuse_lora()
        sd15.unet.delete_adapters("aligned")
        with pytest.raises(ValueError, match="no adapter named"):
            latents_of(sd15)


def test_a_callback_that_changes_guidance_is_refused_in_lockstep(
    sd15: StableDiffusionPipeline,
) -> None:
    def stronger(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        pipe._guidance_scale = 5.0
        return kwargs

    with realign(sd15, perturb(sd15.unet, seed=1), 0.5) as realignment:
        assert latents_of(sd15, callback_on_step_end=stronger).isfinite().all()
        assert realignment.way == "model outputs mixed"
        with pytest.raises(InexactMixtureError, match="callback"):
            latents_of(sd15, callback_on_step_end=stronger, guidance_rescale=0.7)


def test_the_way_is_measured_again_for_other_calls(sd15: StableDiffusionPipeline) -> None:
    class Disobedient(EulerDiscreteScheduler):
        def step(self, model_output: Any, timestep: Any, sample: Any, **kwargs: Any) -> Any:
            output = super().step(model_output, timestep, sample, **kwargs)
            return (output[0] + torch.randn_like(sample), *output[1:])

    sd15.scheduler = Disobedient(**SCHEDULE)
    with realign(sd15, perturb(sd15.unet, seed=1), 0.5) as realignment:
        latents_of(sd15, generator=None)
        with pytest.raises(InexactMixtureError, match="Disobedient draws noise"):
            latents_of(sd15)
        sd15.scheduler = EulerDiscreteScheduler(**SCHEDULE)
        latents_of(sd15)
        assert realignment.way == "model outputs mixed"
        sd15.scheduler = DDIMScheduler(**SCHEDULE, clip_sample=True)
        latents_of(sd15)
        assert realignment.way == "reverse steps mixed"


def test_attention_processors_are_restored(sd15: StableDiffusionPipeline) -> None:
    """Perturbed-attention guidance sets its own in each of the calls alongside."""
    from diffusers import StableDiffusionPAGPipeline

    pipe = StableDiffusionPAGPipeline(**sd15.components, requires_safety_checker=False)
    pipe.set_pag_applied_layers(["mid"])
    pipe.set_progress_bar_config(disable=True)
    before = {name: type(each) for name, each in pipe.unet.attn_processors.items()}
    with realign(pipe, perturb(pipe.unet, seed=1), 0.5):
        latents_of(pipe, pag_scale=2.0)
        latents_of(pipe, pag_scale=2.0, guidance_rescale=0.7)
    assert {name: type(each) for name, each in pipe.unet.attn_processors.items()} == before


def test_every_tensor_of_an_output_is_mixed() -> None:
    from deradiff.mixing import mix_outputs

    first = (torch.zeros(2, 3), torch.ones(2, 4), "x")
    second = (torch.full((2, 3), 2.0), torch.full((2, 4), 3.0), "y")
    picture, sound, rest = mix_outputs([0.5, 0.5], [first, second])
    assert torch.equal(picture, torch.ones(2, 3))
    assert torch.equal(sound, torch.full((2, 4), 2.0))
    assert rest == "x"


def test_a_callback_may_change_the_scale_of_an_active_lora(sd15: StableDiffusionPipeline) -> None:
    """Halfway through the call, and for the aligned model too."""
    for unet in (sd15.unet, aligned := perturb(sd15.unet, seed=1)):
        add_lora(unet, "style")
    other = StableDiffusionPipeline(**{**sd15.components, "unet": aligned})

    def weaken(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        pipe.set_adapters(["style"], adapter_weights=[0.25 if step < 2 else 1.0])
        return kwargs

    expected = latents_of(other, callback_on_step_end=weaken)
    with realign(sd15, aligned, 1.0):
        found = latents_of(sd15, callback_on_step_end=weaken)
    assert torch.equal(found, expected)
    assert not torch.equal(found, latents_of(other))


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
def test_a_replaced_forward_inside_the_denoiser_is_refused(
    sd15: StableDiffusionPipeline, lora: bool
) -> None:
    aligned: Any = perturb(sd15.unet, seed=1)
    if lora:
        add_lora(sd15.unet, aligned := "dpo")
    with realign(sd15, aligned, 0.5):
        block = sd15.unet.mid_block
        block.forward = functools.partial(type(block).forward, block)
        with pytest.raises(InexactMixtureError, match="replaced the forward pass of mid_block"):
            latents_of(sd15)


def test_a_hook_inside_the_denoiser_counts_for_both_models(sd15: StableDiffusionPipeline) -> None:
    def double(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return 2 * output

    aligned = perturb(sd15.unet, seed=1)
    hooked = copy.deepcopy(aligned)
    hooked.mid_block.register_forward_hook(double)
    expected = latents_of(StableDiffusionPipeline(**{**sd15.components, "unet": hooked}))
    handle = sd15.unet.mid_block.register_forward_hook(double)
    with realign(sd15, aligned, 1.0):
        assert torch.equal(latents_of(sd15), expected)
        handle.remove()
        assert not torch.equal(latents_of(sd15), expected)


@pytest.mark.parametrize("clip_sample", [False, True], ids=["outputs mixed", "steps mixed"])
def test_one_weight_per_image_and_no_fewer(
    sd15: StableDiffusionPipeline, clip_sample: bool
) -> None:
    """Two weights for four images fit a batch that guidance has doubled."""
    sd15.scheduler = DDIMScheduler(**SCHEDULE, clip_sample=clip_sample)
    with (
        realign(sd15, perturb(sd15.unet, seed=1), torch.tensor([0.2, 0.7])),
        pytest.raises(ValueError, match="2 weights for 4 images: give one per image"),
    ):
        latents_of(
            sd15,
            num_images_per_prompt=2,
            generator=[torch.Generator().manual_seed(seed) for seed in range(4)],
        )


def test_a_second_pipeline_with_the_realigned_denoiser_is_refused(
    sd15: StableDiffusionPipeline,
) -> None:
    """It may be guided in another way, and nobody has measured how to mix there."""
    other = StableDiffusionPipeline(**sd15.components)
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, 0.5) as realignment:
        with pytest.raises(InexactMixtureError, match="called by other code than its pipeline"):
            latents_of(other)
        realignment.lam = 1.0
        assert torch.equal(latents_of(other), latents_of(sd15))
    with realign(sd15, aligned, 0.5, probe=False):
        assert torch.equal(latents_of(other), latents_of(sd15))
