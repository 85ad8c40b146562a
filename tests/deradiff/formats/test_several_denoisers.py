"""A pipeline with two denoisers: a whole pipeline gives both, anything else one location each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)

import tiny_pipelines
from deradiff import AnchorError, PipelineOptions
from deradiff.loading import load_aligned

from .files import Factors, dotted, factors, save

OPTIONS = PipelineOptions()


def transformer(seed: int) -> WanTransformer3DModel:
    with tiny_pipelines.seeded_weights(seed):
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=16,
            freq_dim=32,
            ffn_dim=32,
            num_layers=1,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        ).eval()


@pytest.fixture
def wan() -> WanPipeline:
    return WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=AutoencoderKLWan(
            base_dim=3,
            z_dim=4,
            dim_mult=[1] * 4,
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=transformer(1),
        transformer_2=transformer(2),
        boundary_ratio=0.875,
    )


def test_a_whole_pipeline_gives_both(tmp_path: Path, wan: WanPipeline) -> None:
    expected = {
        name: tiny_pipelines.perturb(wan.components[name], seed=3)
        for name in ("transformer", "transformer_2")
    }
    other = WanPipeline(**{**wan.components, **expected}, boundary_ratio=0.875)
    other.save_pretrained(tmp_path)
    each = {name: tmp_path / name for name in expected}
    for parts in (load_aligned(wan, form, options=OPTIONS) for form in (tmp_path, each)):
        assert list(parts) == list(expected)
        for name, module in expected.items():
            for key, weight in module.state_dict().items():
                assert torch.equal(parts[name].state_dict()[key], weight)


def test_settings_of_the_pipeline_have_to_agree(tmp_path: Path, wan: WanPipeline) -> None:
    WanPipeline(**wan.components, boundary_ratio=0.5).save_pretrained(tmp_path)
    with pytest.raises(AnchorError, match=r"boundary_ratio differs: .* 0\.875, .* 0\.5"):
        load_aligned(wan, tmp_path, options=OPTIONS)


def under_original_names(given: Factors) -> Factors:
    renamed = {}
    for name, layer in given.items():
        for ours, theirs in (("attn1", "self_attn"), ("attn2", "cross_attn"), ("to_q", "q")):
            name = name.replace(ours, theirs)
        renamed[name.replace("ffn.net.2", "ffn.2")] = layer
    return renamed


def test_a_lora_each_also_under_original_names(tmp_path: Path, wan: WanPipeline) -> None:
    names = [n for n, _ in wan.transformer.named_modules() if n.endswith(("to_q", "ffn.net.2"))]
    given = factors(wan.transformer, names)
    own = save(dotted(given, "transformer.", "lora_A", "lora_B"), tmp_path / "own.safetensors")
    state = dotted(under_original_names(given), "diffusion_model.", "lora_A", "lora_B")
    original = save(state, tmp_path / "original.safetensors")
    with pytest.raises(AnchorError, match=r"aligned = \{ transformer = .*, transformer_2 = .* \}"):
        load_aligned(wan, own, options=OPTIONS)
    each = {"transformer": own, "transformer_2": original}
    parts = load_aligned(wan, each, options=OPTIONS)
    assert parts == {"transformer": "aligned", "transformer_2": "aligned"}
    for name, (down, up, _) in given.items():
        for denoiser in (wan.transformer, wan.transformer_2):
            change = denoiser.get_submodule(name).get_delta_weight("aligned")
            torch.testing.assert_close(change, up @ down)
