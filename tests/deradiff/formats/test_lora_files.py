"""Every kind of LoRA file gives the denoiser that its numbers say, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

import tiny_pipelines
from deradiff import AnchorError
from deradiff.formats.ldm_names import ldm_names

from .files import (
    Factors,
    assert_same,
    attention_layers,
    changed,
    dotted,
    factors,
    kohya,
    load,
    output,
    save,
)

pytestmark = pytest.mark.slow

CONVOLUTIONS = ["down_blocks.0.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv", "conv_in"]
OTHERS = ["time_embedding.linear_1", "mid_block.attentions.0.proj_in"]


def every_layer(pipe: StableDiffusionPipeline) -> list[str]:
    return attention_layers(pipe.unet) + CONVOLUTIONS + OTHERS


def original_names(pipe: StableDiffusionPipeline) -> dict[str, str]:
    names = ldm_names(pipe.unet.config, [name for name, _ in pipe.unet.named_modules() if name])
    return {own: original for original, own in names.items()} | {
        f"{own}.{rest}": f"{original}.{rest}"
        for original, own in names.items()
        for rest in ("transformer_blocks.0.attn1.to_q",)
    }


def processors(given: Factors) -> dict[str, Tensor]:
    """The keys of diffusers' first attention processors."""
    state = {}
    for name, (down, up, _) in given.items():
        block, _, layer = name.removesuffix(".0").rpartition(".")
        state[f"{block}.processor.{layer}_lora.down.weight"] = down
        state[f"{block}.processor.{layer}_lora.up.weight"] = up
    return state


def unscaled(given: Factors) -> Factors:
    """Factors whose alpha is their rank, as files without alphas have them."""
    return {name: (down, up, float(len(down))) for name, (down, up, _) in given.items()}


def test_kohya_alphas_ranks_and_convolutions_are_per_layer(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    given = factors(sd15.unet, every_layer(sd15))
    expected = changed(sd15.unet, given)
    assert_same(load(sd15, save(kohya(given), tmp_path / "a.safetensors")), expected)
    assert {"aligned"} == set(sd15.unet.peft_config)


def test_names_of_the_original_format(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    given = factors(sd15.unet, every_layer(sd15))
    expected = changed(sd15.unet, given)
    file = save(kohya(given, original_names(sd15)), tmp_path / "a.safetensors")
    assert_same(load(sd15, file), expected)


@pytest.mark.parametrize(
    "write",
    [
        lambda given: dotted(given, "unet.", "lora_A", "lora_B"),
        lambda given: dotted(given, "", "lora_A", "lora_B"),
        lambda given: dotted(given, "unet.", "lora.down", "lora.up"),
        lambda given: dotted(given, "diffusion_model.", "lora_down", "lora_up"),
        lambda given: dotted(given, "module.unet.", "lora_A.default", "lora_B.default"),
        processors,
    ],
    ids=["diffusers", "no prefix", "lora.down", "diffusion_model", "wrapped", "processors"],
)
def test_files_without_alphas(
    tmp_path: Path, sd15: StableDiffusionPipeline, write: Callable[[Factors], dict[str, Tensor]]
) -> None:
    given = unscaled(factors(sd15.unet, attention_layers(sd15.unet)))
    expected = changed(sd15.unet, given)
    assert_same(load(sd15, save(write(given), tmp_path / "a.safetensors")), expected)


@pytest.mark.parametrize("prefix", ["base_model.model.", "base_model.model.unet.", ""])
def test_peft_folder(tmp_path: Path, sd15: StableDiffusionPipeline, prefix: str) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet))
    ranks = {name: len(down) for name, (down, _, _) in given.items()}
    config = {
        "peft_type": "LORA",
        "r": 2,
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != 2},
        "lora_alpha": 2,
        "alpha_pattern": {name: alpha for name, (_, _, alpha) in given.items() if alpha != 2},
    }
    expected = changed(sd15.unet, given)
    save(dotted(given, prefix, "lora_A", "lora_B"), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert_same(load(sd15, tmp_path), expected)


def test_peft_without_its_configuration_needs_a_strength(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    given = unscaled(factors(sd15.unet, attention_layers(sd15.unet)))
    state = dotted(given, "base_model.model.", "lora_A", "lora_B")
    file = save(state, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AnchorError, match=r"no adapter_config\.json lies beside it.*`strength`"):
        load(sd15, file)
    expected = changed(sd15.unet, given, strength=0.5)
    assert_same(load(sd15, file, strength=0.5), expected)


def test_rank_stabilised_and_metadata_scales(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet), varied=False)
    config = {"unet.r": 2, "unet.lora_alpha": 1, "unet.use_rslora": True}
    stabilised = {name: (down, up, 2**0.5) for name, (down, up, _) in given.items()}
    expected = changed(sd15.unet, stabilised)
    metadata = {"lora_adapter_metadata": json.dumps(config)}
    state = dotted(given, "unet.", "lora_A", "lora_B")
    assert_same(load(sd15, save(state, tmp_path / "a.safetensors", metadata)), expected)


def test_peft_initialisations_that_change_the_base_are_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet), varied=False)
    save(dotted(given, "", "lora_A", "lora_B"), tmp_path / "adapter_model.safetensors")
    config = {"r": 2, "lora_alpha": 1, "init_lora_weights": "pissa_niter_4"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AnchorError, match="which changes the base weights too"):
        load(sd15, tmp_path)
    config |= {"init_lora_weights": True, "r": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AnchorError, match=r"has rank 2, but .* says 4"):
        load(sd15, tmp_path)


def test_strength_multiplies_every_layer(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    given = factors(sd15.unet, every_layer(sd15))
    expected = changed(sd15.unet, given, strength=0.4)
    file = save(kohya(given), tmp_path / "a.safetensors")
    assert_same(load(sd15, file, strength=0.4), expected)


@pytest.mark.parametrize(
    ("form", "axis"), [("kohya", "output"), ("kohya", "input"), ("diffusers", "output")]
)
def test_dora(tmp_path: Path, sd15: StableDiffusionPipeline, axis: str, form: str) -> None:
    names = attention_layers(sd15.unet) + CONVOLUTIONS[:1]
    given = factors(sd15.unet, names)
    given = given if form == "kohya" else unscaled(given)
    expected = changed(sd15.unet, given)
    state = kohya(given) if form == "kohya" else dotted(given, "unet.", "lora_A", "lora_B")
    for name in given:
        weight = expected.get_submodule(name).weight
        kept = 0 if axis == "output" else 1
        other = [dim for dim in range(weight.ndim) if dim != kept]
        norm = torch.linalg.vector_norm(weight.detach(), dim=other, keepdim=True)
        magnitude = norm * torch.linspace(0.5, 1.5, norm.numel()).reshape(norm.shape)
        with torch.no_grad():
            weight.mul_(magnitude / norm)
        if form == "kohya":
            state[f"lora_unet_{name.replace('.', '_')}.dora_scale"] = magnitude
        else:
            state[f"unet.{name}.lora_magnitude_vector"] = (
                magnitude.flatten() if magnitude.ndim == 2 else magnitude.transpose(0, 1)
            )
    file = save(state, tmp_path / "a.safetensors")
    with pytest.raises(AnchorError, match=r"DoRA, whose magnitudes hold only at strength 1"):
        load(sd15, file, strength=0.5)
    assert_same(load(sd15, file), expected)


def test_loha_lokr_tucker_and_differences(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    """One layer of each kind in one file; ΔW by LyCORIS' own formulas, written out."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    names = attention_layers(sd15.unet)[:3]
    unet = sd15.unet
    (out, wide), rank = unet.get_submodule(names[0]).weight.shape, 2
    loha = {"hada_w1_a": draw(out, rank), "hada_w1_b": draw(rank, wide)}
    loha |= {
        "hada_w2_a": draw(out, rank),
        "hada_w2_b": draw(rank, wide),
        "alpha": torch.tensor(1.0),
    }
    out, wide = unet.get_submodule(names[1]).weight.shape
    lokr = {"lokr_w1": draw(2, 2), "lokr_w2_a": draw(out // 2, 2), "lokr_w2_b": draw(2, wide // 2)}
    lokr["alpha"] = torch.tensor(4.0)
    conv_out, conv_in = unet.get_submodule(CONVOLUTIONS[0]).weight.shape[:2]
    tucker = {"lora_down.weight": draw(2, conv_in, 1, 1), "lora_mid.weight": draw(2, 2, 3, 3)}
    tucker |= {"lora_up.weight": draw(conv_out, 2, 1, 1), "alpha": torch.tensor(1.0)}
    whole = {"diff": draw(*unet.get_submodule(names[2]).weight.shape)}
    layers = dict(zip([*names, CONVOLUTIONS[0]], (loha, lokr, whole, tucker), strict=True))
    expected = changed(unet, {})
    changes = [
        0.5 * (loha["hada_w1_a"] @ loha["hada_w1_b"]) * (loha["hada_w2_a"] @ loha["hada_w2_b"]),
        2.0 * torch.kron(lokr["lokr_w1"], lokr["lokr_w2_a"] @ lokr["lokr_w2_b"]),
        whole["diff"],
        0.5
        * torch.einsum(
            "or,rskl,si->oikl",
            tucker["lora_up.weight"][..., 0, 0],
            tucker["lora_mid.weight"],
            tucker["lora_down.weight"][..., 0, 0],
        ),
    ]
    with torch.no_grad():
        for name, change in zip(layers, changes, strict=True):
            expected.get_submodule(name).weight += change
    state = {
        f"lora_unet_{name.replace('.', '_')}.{role}": tensor
        for name, parts in layers.items()
        for role, tensor in parts.items()
    }
    before = output(sd15.unet)
    aligned = load(sd15, save(state, tmp_path / "a.safetensors"))
    assert_same(aligned, expected)
    assert torch.equal(output(sd15.unet), before)  # a copy: the reference is as it was


def test_half_precision(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    """Files in float16 under a reference in float32 keep their values."""
    given = factors(sd15.unet, attention_layers(sd15.unet))
    halves = {n: (down.half(), up.half(), alpha) for n, (down, up, alpha) in given.items()}
    expected = changed(sd15.unet, halves)
    assert_same(load(sd15, save(kohya(halves), tmp_path / "a.safetensors")), expected)


def broken(given: Factors, kind: str) -> dict[str, Tensor]:
    state = kohya(given)
    first = next(iter(state)).split(".")[0]
    extra = {
        "half covered": {f"{first}x.alpha": torch.tensor(1.0)},
        "text encoder": {
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(2, 4),
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2),
        },
        "GLoRA": {f"{first}.a1.weight": torch.ones(2, 2)},
        "OFT": {f"{first}.oft_blocks": torch.ones(2, 2)},
        "unknown": {"something.else": torch.ones(2)},
        "bias": {f"{first}.diff_b": torch.ones(2)},
        "twice": {
            f"unet.{next(iter(given))}.lora_A.weight": torch.ones(2, 2),
            f"unet.{next(iter(given))}.lora_B.weight": torch.ones(2, 2),
        },
    }
    if kind == "fits no layer":
        return {key.replace("attn1", "attn9"): tensor for key, tensor in state.items()}
    if kind == "shape":
        state[f"{first}.lora_up.weight"] = torch.ones(3, 2)
        return state
    if kind == "without B":
        del state[f"{first}.lora_up.weight"]
        return state
    return state | extra[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("fits no layer", r"layers that the denoiser does not have: .*attn9.*, … \(12 in all\)"),
        ("half covered", r"a factor is missing: lora_unet_.*x"),
        ("without B", r"a factor is missing: lora_unet_"),
        ("text encoder", r"also changes a text encoder \(lora_te_text_model"),
        ("GLoRA", r"holds GLoRA \(.*a1\.weight\)"),
        ("OFT", r"holds OFT \(.*oft_blocks\)"),
        ("unknown", r"unknown kind beside a LoRA \(something\.else\)"),
        ("bias", r"holds differences of biases"),
        ("twice", r"changes the layer .*to_q twice"),
        ("shape", r"the layer .*to_q does not fit"),
    ],
)
def test_what_cannot_be_applied_is_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, kind: str, message: str
) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet))
    file = save(broken(given, kind), tmp_path / "a.safetensors")
    before = output(sd15.unet)
    with pytest.raises(AnchorError, match=rf"^aligned .*a\.safetensors: .*{message}"):
        load(sd15, file)
    assert torch.equal(output(sd15.unet), before)


def test_textual_inversions_are_refused(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    for number, state in enumerate(({"emb_params": torch.ones(1, 4)}, {"<cat>": torch.ones(4)})):
        file = save(state, tmp_path / f"{number}.safetensors")
        with pytest.raises(AnchorError, match="is a textual inversion"):
            load(sd15, file)


def test_one_of_several_files(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet))
    expected = changed(sd15.unet, given)
    save(kohya(given), tmp_path / "a.safetensors")
    save(kohya(unscaled(given)), tmp_path / "b.safetensors")
    with pytest.raises(AnchorError, match=r"\(a\.safetensors, b\.safetensors\): set `file`"):
        load(sd15, tmp_path)
    with pytest.raises(AnchorError, match=r"has no file 'c\.safetensors'"):
        load(sd15, tmp_path, file="c.safetensors")
    assert_same(load(sd15, tmp_path, file="a.safetensors"), expected)


def flux_original(given: Factors) -> dict[str, Tensor]:
    """The file from which diffusers' layers `given` come: fused q, k, v with one down matrix."""
    state = {}
    for part, layers in {
        "double_blocks_0_img_attn_qkv": ["to_q", "to_k", "to_v"],
        "double_blocks_0_txt_attn_qkv": ["add_q_proj", "add_k_proj", "add_v_proj"],
    }.items():
        names = [f"transformer_blocks.0.attn.{layer}" for layer in layers]
        key = f"lora_unet_{part}"
        state[f"{key}.lora_down.weight"] = given[names[0]][0]
        state[f"{key}.lora_up.weight"] = torch.cat([given[name][1] for name in names])
        state[f"{key}.alpha"] = torch.tensor(given[names[0]][2])
    return state


def test_flux_with_fused_layers(tmp_path: Path) -> None:
    pipe = tiny_pipelines.flux()
    block = "transformer_blocks.0.attn"
    fused = [["to_q", "to_k", "to_v"], ["add_q_proj", "add_k_proj", "add_v_proj"]]
    given = factors(pipe.transformer, [f"{block}.{n}" for group in fused for n in group])
    for group in fused:  # the layers of a group share A and alpha
        down, up, alpha = given[f"{block}.{group[0]}"]
        for name in group[1:]:
            other = torch.randn(up.shape, generator=torch.Generator().manual_seed(len(name)))
            given[f"{block}.{name}"] = (down, other, alpha)
    expected = changed(pipe.transformer, given)
    load(pipe, save(flux_original(given), tmp_path / "a.safetensors"))
    for name in given:
        layer = pipe.transformer.get_submodule(name)
        merged = layer.base_layer.weight + layer.get_delta_weight("aligned")
        torch.testing.assert_close(merged, expected.get_submodule(name).weight)


def test_sd3_with_fused_layers(tmp_path: Path) -> None:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=8,
    )
    parts = ["vae", "text_encoder", "text_encoder_2", "text_encoder_3"]
    parts += ["tokenizer", "tokenizer_2", "tokenizer_3"]
    pipe = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        **dict.fromkeys(parts),
    )
    groups = {
        "x_block_attn_qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
        "context_block_attn_qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
        "x_block_attn_proj": ["attn.to_out.0"],
        "context_block_attn_proj": ["attn.to_add_out"],
        "x_block_mlp_fc1": ["ff.net.0.proj"],
        "context_block_mlp_fc2": ["ff_context.net.2"],
    }
    state, given = {}, {}
    for group, layers in groups.items():
        names = [f"transformer_blocks.0.{layer}" for layer in layers]
        own = factors(transformer, names, varied=False)
        down, _, _ = own[names[0]]
        given |= {name: (down, up, 0.5) for name, (_, up, _) in own.items()}
        key = f"lora_unet_joint_blocks_0_{group}"
        state[f"{key}.lora_down.weight"] = down
        state[f"{key}.lora_up.weight"] = torch.cat([own[name][1] for name in names])
        state[f"{key}.alpha"] = torch.tensor(0.5)
    expected = changed(transformer, given)
    load(pipe, save(state, tmp_path / "a.safetensors"))
    for name in given:
        layer = transformer.get_submodule(name)
        merged = layer.base_layer.weight + layer.get_delta_weight("aligned")
        torch.testing.assert_close(merged, expected.get_submodule(name).weight)


@pytest.mark.parametrize(
    ("metadata", "strength", "scale"),
    [
        ({"lora_adapter_metadata": '{"unet.r": 2, "unet.lora_alpha": 4}'}, None, 2.0),
        ({"lora_adapter_metadata": '{"unet.r": 2, "unet.lora_alpha": 4}'}, 0.5, 1.0),
        ({"lora_adapter_metadata": '{"r": 2}'}, None, 4.0),  # peft's own default is alpha = 8
        ({"alpha": "1"}, None, 0.5),
        ({"ss_network_alpha": "1.0", "alpha": "1"}, None, 0.5),
        ({"ss_network_alpha": "None"}, None, 1.0),
    ],
)
def test_the_files_own_metadata_comes_before_a_configuration_beside_it(
    tmp_path: Path,
    sd15: StableDiffusionPipeline,
    metadata: dict[str, str],
    strength: float | None,
    scale: float,
) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet), varied=False)
    expected = changed(sd15.unet, {name: (a, b, 2 * scale) for name, (a, b, _) in given.items()})
    state = dotted(given, "unet.", "lora_A", "lora_B")
    file = save(state, tmp_path / "mine.safetensors", metadata)
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 64}')
    assert_same(load(sd15, file, strength=strength), expected)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"lora_adapter_metadata": '{"prior.r": 2}'}, r"says nothing of the unet \(prior\.r\)"),
        ({"alpha": "two"}, r"no single number as alpha \(two\)"),
        ({"alpha": "1", "ss_network_alpha": "2"}, r"no single number as alpha \(1, 2\)"),
        ({"alpha": "1", "ss_network_args": '{"conv_alpha": 2}'}, "convolutions another alpha"),
    ],
)
def test_an_unclear_scale_is_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, metadata: dict[str, str], message: str
) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet), varied=False)
    state = dotted(given, "unet.", "lora_A", "lora_B")
    with pytest.raises(AnchorError, match=message):
        load(sd15, save(state, tmp_path / "a.safetensors", metadata))


def test_alphas_that_are_numbers_count(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet))
    state = {k: float(t) if k.endswith("alpha") else t for k, t in kohya(given).items()}
    torch.save(state, tmp_path / "a.pt")
    expected = changed(sd15.unet, given)
    assert_same(load(sd15, tmp_path / "a.pt", use_safetensors=False), expected)


def test_lokr_of_whole_factors_is_scaled_by_its_configuration(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    name = attention_layers(sd15.unet)[0]
    out, wide = sd15.unet.get_submodule(name).weight.shape
    first, second = torch.ones(2, 2), torch.randn(out // 2, wide // 2)
    expected = changed(sd15.unet, {})
    with torch.no_grad():
        expected.get_submodule(name).weight += 0.25 * torch.kron(first, second)
    key = f"base_model.model.{name}"
    save(
        {f"{key}.lokr_w1": first, f"{key}.lokr_w2": second}, tmp_path / "adapter_model.safetensors"
    )
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LOKR", "r": 16, "alpha": 4}')
    assert_same(load(sd15, tmp_path), expected)


def test_a_layer_changed_in_several_ways_is_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    name = attention_layers(sd15.unet)[0]
    state = kohya(factors(sd15.unet, [name]))
    key = f"lora_unet_{name.replace('.', '_')}"
    state[f"{key}.diff"] = torch.ones_like(sd15.unet.get_submodule(name).weight)
    with pytest.raises(AnchorError, match=rf"changes in several ways at once: {key}"):
        load(sd15, save(state, tmp_path / "a.safetensors"))
