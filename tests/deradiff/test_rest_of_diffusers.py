"""What people switch on around a pipeline: realigned, it is the same as without realignment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
from diffusers import StableDiffusionPipeline
from diffusers.hooks import HookRegistry, ModelHook, apply_group_offloading
from torch import Tensor, nn

from deradiff import InexactMixtureError, realign
from tiny_pipelines import perturb


def latents_of(pipe: Any, output_type: str = "latent") -> Tensor:
    images = pipe(
        ["a red three", "a blue seven"],
        num_inference_steps=3,
        generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
        guidance_scale=3.0,
        output_type=output_type,
    ).images
    return torch.as_tensor(images)


def compiled(pipe: Any) -> None:
    pipe.unet = torch.compile(pipe.unet, backend="eager")


def compiled_by_blocks(pipe: Any) -> None:
    pipe.unet.compile_repeated_blocks(backend="eager")


def offloaded_in_groups(pipe: Any) -> None:
    cpu = torch.device("cpu")
    apply_group_offloading(
        pipe.unet, onload_device=cpu, offload_device=cpu, offload_type="leaf_level"
    )


def cast_by_layers(pipe: Any) -> None:
    pipe.unet.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
    )


def offloaded_by_layers(pipe: Any) -> None:
    cpu_offload(pipe.unet, execution_device=torch.device("cpu"))


def channels_last(pipe: Any) -> None:
    pipe.unet.to(memory_format=torch.channels_last)


OTHERS = ["group offloading", "sequential offloading", "channels last"]
SWITCHES: dict[str, Callable[[Any], None]] = {
    "torch.compile": compiled,
    "compile_repeated_blocks": compiled_by_blocks,
    "group offloading": offloaded_in_groups,
    "sequential offloading": offloaded_by_layers,
    "channels last": channels_last,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "when"),
    [
        ("torch.compile", "before"),  # afterwards it would trace the realignment, for minutes
        *product(["compile_repeated_blocks", *OTHERS], ["before", "after"]),
    ],
)
def test_it_is_the_same_with_realignment(
    sd15: StableDiffusionPipeline, what: str, when: str
) -> None:
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, 0.5):
        expected = latents_of(sd15)
    reference = latents_of(sd15)
    whole = copy.deepcopy(sd15)
    whole.unet = copy.deepcopy(aligned)
    aligned_only = latents_of(whole)
    if when == "before":
        SWITCHES[what](sd15)
    with realign(sd15, aligned, 0.5) as realignment:
        if when == "after":
            latents_of(sd15)
            SWITCHES[what](sd15)
        torch.testing.assert_close(latents_of(sd15), expected, rtol=1e-4, atol=1e-4)
        realignment.lam = 0.0
        torch.testing.assert_close(latents_of(sd15), reference, rtol=1e-4, atol=1e-4)
        realignment.lam = 1.0
        torch.testing.assert_close(latents_of(sd15), aligned_only, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(latents_of(sd15), reference, rtol=1e-4, atol=1e-4)


def test_layerwise_casting_of_the_reference(sd15: StableDiffusionPipeline) -> None:
    """The aligned denoiser keeps its own precision."""
    aligned = perturb(sd15.unet, seed=1)
    whole = copy.deepcopy(sd15)
    whole.unet = copy.deepcopy(aligned)
    cast_by_layers(sd15)
    reference = latents_of(sd15)
    with realign(sd15, aligned, 0.0) as realignment:
        assert torch.equal(latents_of(sd15), reference)
        realignment.lam = 1.0
        assert torch.equal(latents_of(sd15), latents_of(whole))
        realignment.lam = 0.5
        half = latents_of(sd15)
    assert half.isfinite().all()
    assert not torch.allclose(half, reference, atol=1e-4)


def test_slices_and_tiles_of_the_vae(sd15: StableDiffusionPipeline) -> None:
    aligned = perturb(sd15.unet, seed=1)
    sd15.vae.enable_slicing()
    sd15.vae.enable_tiling()
    with realign(sd15, aligned, 0.5):
        sliced = latents_of(sd15, "pt")
        sd15.vae.disable_slicing()
        torch.testing.assert_close(sliced, latents_of(sd15, "pt"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_mixed_in_float32(
    sd15: StableDiffusionPipeline, dtype: torch.dtype
) -> None:
    pipe = sd15.to(dtype)
    aligned = perturb(pipe.unet, seed=1, scale=0.05)
    inputs = (torch.randn(2, 4, 8, 8, dtype=dtype), torch.tensor(500))
    condition = torch.randn(2, 5, 16, dtype=dtype)

    def run(unet: nn.Module) -> Tensor:
        with torch.no_grad():
            output: Tensor = unet(*inputs, encoder_hidden_states=condition, return_dict=False)[0]
        return output

    first, second = run(pipe.unet), run(aligned)
    with realign(pipe, aligned, 0.3, probe=False):
        mixed = run(pipe.unet)
    expected = (0.7 * first.float() + 0.3 * second.float()).to(dtype)
    assert mixed.dtype == dtype
    assert torch.equal(mixed, expected)


class Leaving(ModelHook):
    """Takes itself off after its first pass, like the hook that learns the order of layers."""

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        module._diffusers_hook.remove_hook("leaving", recurse=False)
        return output


def test_a_hook_that_leaves_does_not_take_the_mixture_along(sd15: StableDiffusionPipeline) -> None:
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, 0.5):
        expected = latents_of(sd15)
    for _ in range(2):
        HookRegistry.check_if_exists_or_initialize(sd15.unet).register_hook(Leaving(), "leaving")
        with realign(sd15, aligned, 0.5, probe=False):
            assert torch.equal(latents_of(sd15), expected)
            assert torch.equal(latents_of(sd15), expected)


def test_offloading_that_is_renewed_in_every_call(sd15: StableDiffusionPipeline) -> None:
    """As `enable_model_cpu_offload`, before realigning: hooks come off and on after a call."""
    aligned = perturb(sd15.unet, seed=1)
    with realign(sd15, aligned, 0.5):
        expected = latents_of(sd15)
    reference = latents_of(sd15)

    def renew() -> None:
        remove_hook_from_module(sd15.unet)
        add_hook_to_module(sd15.unet, AlignDevicesHook(execution_device="cpu"))

    renew()
    with realign(sd15, aligned, 0.5):
        for _ in range(3):
            assert torch.equal(latents_of(sd15), expected)
            renew()
    assert torch.equal(latents_of(sd15), reference)
    renew()
    assert torch.equal(latents_of(sd15), reference)


def test_other_code_in_the_place_of_the_forward_is_refused(sd15: StableDiffusionPipeline) -> None:
    aligned = perturb(sd15.unet, seed=1)
    original = sd15.unet.forward
    with realign(sd15, aligned, 0.5):
        sd15.unet.forward = lambda *args, **kwargs: original(*args, **kwargs)
        with pytest.raises(InexactMixtureError, match="has replaced the denoiser's forward"):
            latents_of(sd15)
