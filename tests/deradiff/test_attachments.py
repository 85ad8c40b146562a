"""What a user attaches to the reference's denoiser counts for the aligned one too."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig, StableDiffusionPipeline
from peft import LoraConfig
from torch import Tensor, nn

import tiny_pipelines
from deradiff import InexactMixtureError, realign
from tiny_pipelines import perturb, seeded_weights

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")


def latents_of(pipe: Any) -> Tensor:
    latents: Tensor = pipe(
        ["a red three", "a blue seven"],
        num_inference_steps=3,
        generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
        guidance_scale=3.0,
        output_type="latent",
    ).images
    return latents


def add_style(unet: Any, name: str = "style", *targets: str) -> None:
    config = LoraConfig(
        r=2, lora_alpha=2, target_modules=list(targets or ("to_q",)), init_lora_weights=False
    )
    with seeded_weights(7):
        unet.add_adapter(config, name)


def add_two_styles(pipe: Any) -> None:
    add_style(pipe.unet, "style")
    add_style(pipe.unet, "lcm", "to_v", "conv1")
    pipe.unet.set_adapters(["style", "lcm"], weights=[0.5, 0.8])


def enable_freeu(pipe: Any) -> None:
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.4, b2=1.6)


def change_processor(pipe: Any) -> None:
    class Halved:
        def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kw: Any) -> Tensor:
            return hidden_states * 0.5

    pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn1.processor = Halved()


ATTACHED: dict[str, Callable[[Any], None]] = {
    "a style LoRA": lambda pipe: add_style(pipe.unet),
    "two LoRAs with weights": add_two_styles,
    "a LoRA that is switched off": lambda pipe: (
        add_style(pipe.unet),
        pipe.unet.disable_adapters(),
    )[0],
    "FreeU": enable_freeu,
    "an attention processor": change_processor,
}


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ATTACHED)
def test_it_is_attached_to_both(sd15: StableDiffusionPipeline, what: str, when: str) -> None:
    aligned = perturb(sd15.unet, seed=1)
    whole = copy.deepcopy(sd15)
    whole.unet = copy.deepcopy(aligned)
    weights = [weight.data_ptr() for weight in aligned.parameters()]
    untouched = copy.deepcopy(aligned.state_dict())
    if when == "before":
        ATTACHED[what](sd15)
    with realign(sd15, aligned, 1.0) as realignment:
        if when == "after":
            latents_of(sd15)
            ATTACHED[what](sd15)
        found = latents_of(sd15)
        ATTACHED[what](whole)
        assert torch.equal(found, latents_of(whole))
        realignment.lam = 0.5
        half = latents_of(sd15)
    reference = latents_of(sd15)
    assert not torch.allclose(half, reference, atol=1e-5)
    assert not torch.allclose(half, found, atol=1e-5)
    # The aligned denoiser itself is as it was.
    assert [weight.data_ptr() for weight in aligned.parameters()] == weights
    assert all(torch.equal(w, untouched[name]) for name, w in aligned.state_dict().items())


def test_an_aligned_denoiser_keeps_its_own_configuration(sd15: StableDiffusionPipeline) -> None:
    config = {name: value for name, value in sd15.unet.config.items() if name[0] != "_"}
    other = type(sd15.unet).from_config({**config, "norm_eps": 0.1, "act_fn": "gelu"})
    other.load_state_dict(perturb(sd15.unet, seed=1).state_dict())
    other.eval()
    whole = copy.deepcopy(sd15)
    whole.unet = other
    with realign(sd15, other, 1.0):
        assert torch.equal(latents_of(sd15), latents_of(whole))
        enable_freeu(sd15)
        with pytest.raises(InexactMixtureError, match=r"another .*norm_eps"):
            latents_of(sd15)


def test_a_lora_anchor_comes_on_top_of_an_active_one(sd15: StableDiffusionPipeline) -> None:
    add_style(sd15.unet)
    reference = latents_of(sd15)
    add_style(sd15.unet, "aligned", "to_v", "to_k")
    sd15.unet.set_adapters(["style", "aligned"])
    both = latents_of(sd15)
    with realign(sd15, "aligned", 0.0) as realignment:
        assert torch.equal(latents_of(sd15), reference)
        realignment.lam = 1.0
        assert torch.equal(latents_of(sd15), both)
        sd15.unet.disable_adapters()
        alone = latents_of(sd15)
    assert not torch.allclose(alone, both, atol=1e-5)


def test_a_lora_anchor_has_one_set_of_base_weights(sd15: StableDiffusionPipeline) -> None:
    def bytes_of(*modules: nn.Module) -> int:
        weights = {w.data_ptr(): w.nbytes for m in modules for w in m.parameters()}
        return sum(weights.values())

    before = bytes_of(sd15.unet)
    add_style(sd15.unet, "aligned")
    lora = sum(w.nbytes for name, w in sd15.unet.named_parameters() if "lora_" in name)
    with realign(sd15, "aligned", 0.5) as realignment:
        latents_of(sd15)
        held = [m for mixture in realignment._mixtures.values() for m in mixture._dressed.values()]
        assert bytes_of(sd15.unet, *held) == before + lora


@pytest.mark.parametrize(
    ("attach", "expected"),
    [
        (lambda pipe: (add_style(pipe.unet), pipe.unet.fuse_lora()), r"unfuse_lora\(\)"),
        (lambda pipe: pipe.fuse_qkv_projections(), r"unfuse_qkv_projections\(\)"),
    ],
)
def test_what_changes_the_reference_itself_is_refused(
    sd15: StableDiffusionPipeline, attach: Callable[[Any], Any], expected: str
) -> None:
    aligned = perturb(sd15.unet, seed=1)
    attach(sd15)
    with realign(sd15, aligned, 0.5), pytest.raises(InexactMixtureError, match=expected):
        latents_of(sd15)


@pytest.mark.parametrize("as_lora", [True, False])
def test_a_block_cache_is_refused_where_models_are_mixed(as_lora: bool) -> None:
    pipe = tiny_pipelines.flux()

    def call() -> Any:
        return pipe(
            **tiny_pipelines.flux_prompt(1),
            height=16,
            width=16,
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images

    aligned: Any = "aligned" if as_lora else perturb(pipe.transformer, seed=1)
    if as_lora:
        add_style(pipe.transformer, "aligned", "single_transformer_blocks.0.attn.to_q")
    with realign(pipe, aligned, 0.5) as realignment:
        exact = call()
        pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.05))
        with pytest.raises(InexactMixtureError, match=r"disable_cache\(\)"):
            call()
        pipe.transformer.disable_cache()
        assert torch.equal(call(), exact)
        assert realignment.way == "model outputs mixed"
