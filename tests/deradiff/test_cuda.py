"""On a GPU: endpoints, mixture, precision and offloading. Skipped where there is none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.hooks import apply_group_offloading
from torch import Tensor

import tiny_pipelines
from deradiff import realign
from tiny_pipelines import perturb

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _exact_arithmetic() -> Iterator[None]:
    """Convolutions in true float32, so that the CPU's results can be compared."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


def latents_of(pipe: Any) -> Tensor:
    return pipe(
        ["a red three", "a blue seven"],
        num_inference_steps=3,
        generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
        guidance_scale=3.0,
        output_type="latent",
    ).images


def pair(dtype: torch.dtype = torch.float32) -> tuple[StableDiffusionPipeline, Any]:
    pipe = tiny_pipelines.sd15()
    aligned = perturb(pipe.unet, seed=1)
    return pipe.to(dtype), aligned.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_ends_are_the_models_themselves_bit_for_bit(dtype: torch.dtype) -> None:
    pipe, aligned = pair(dtype)
    pipe.to(CUDA)
    whole = copy.deepcopy(pipe)
    whole.unet = copy.deepcopy(aligned).to(CUDA)
    reference, other = latents_of(pipe), latents_of(whole)
    with realign(pipe, aligned, 0.0) as realignment:
        assert torch.equal(latents_of(pipe), reference)
        realignment.lam = 1.0
        assert torch.equal(latents_of(pipe), other)
    assert torch.equal(latents_of(pipe), reference)


@pytest.mark.parametrize("dtype", DTYPES)
def test_between_the_ends_outputs_are_mixed_in_float32(dtype: torch.dtype) -> None:
    pipe, aligned = pair(dtype)
    pipe.to(CUDA)
    with realign(pipe, aligned, torch.tensor([0.3, 0.8])):
        mixed = latents_of(pipe)
    aligned.to(CUDA)
    own, weights = pipe.unet.forward, torch.tensor([0.3, 0.8] * 2, device=CUDA).view(-1, 1, 1, 1)

    def by_hand(*args: Any, **kwargs: Any) -> Any:
        a = own(*args, **{**kwargs, "return_dict": False})[0].float()
        b = aligned(*args, **{**kwargs, "return_dict": False})[0].float()
        return (((1 - weights) * a + weights * b).to(dtype),)

    pipe.unet.forward = by_hand
    expected = latents_of(pipe)
    tolerance = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(mixed, expected, rtol=tolerance, atol=tolerance)


def test_the_same_seeds_give_the_images_of_the_cpu() -> None:
    pipe, aligned = pair()
    with realign(pipe, aligned, 0.5):
        expected = latents_of(pipe)
    pipe.to(CUDA)
    with realign(pipe, aligned, 0.5):
        torch.testing.assert_close(latents_of(pipe).cpu(), expected, rtol=1e-3, atol=1e-3)


def model_offload(pipe: Any) -> None:
    pipe.enable_model_cpu_offload()


def sequential_offload(pipe: Any) -> None:
    pipe.enable_sequential_cpu_offload()


def group_offload(pipe: Any) -> None:
    for name in ("text_encoder", "vae"):
        getattr(pipe, name).to(CUDA)
    apply_group_offloading(
        pipe.unet,
        onload_device=CUDA,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=True,
    )


OFFLOADS: dict[str, Callable[[Any], None]] = {
    "model": model_offload,
    "sequential": sequential_offload,
    "group": group_offload,
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", OFFLOADS)
def test_offloading_changes_nothing(what: str, when: str) -> None:
    pipe, aligned = pair()
    on_gpu, other = copy.deepcopy(pipe).to(CUDA), copy.deepcopy(aligned)
    with realign(on_gpu, other, 0.5):
        expected = latents_of(on_gpu).cpu()
    if when == "before":
        OFFLOADS[what](pipe)
    with realign(pipe, aligned, 0.5):
        if when == "after":
            OFFLOADS[what](pipe)
        for _ in range(3):
            torch.testing.assert_close(latents_of(pipe).cpu(), expected, rtol=1e-4, atol=1e-4)
        assert aligned.device.type == "cpu"  # it leaves the GPU with the others


def test_a_lora_anchor_holds_one_set_of_base_weights() -> None:
    peft = pytest.importorskip("peft")
    pipe, _ = pair()
    pipe.to(CUDA)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    size = sum(weight.nbytes for weight in pipe.unet.parameters())
    config = peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    pipe.unet.add_adapter(config, adapter_name="aligned")
    with realign(pipe, "aligned", 0.5):
        latents_of(pipe)
        torch.cuda.empty_cache()
        assert torch.cuda.memory_allocated() - before < size / 2
