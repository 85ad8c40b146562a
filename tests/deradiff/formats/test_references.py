"""A reference in one file: the whole pipeline of A1111 and ComfyUI, with its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLLTXVideo, StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTextModel

import tiny_pipelines
from deradiff import AnchorError, PipelineOptions
from deradiff.formats.references import require_whole_vae
from deradiff.loading import load_aligned, load_pipeline

from .files import output, save
from .test_whole_denoisers import original


def original_vae(vae: AutoencoderKL) -> dict[str, Tensor]:
    """The VAE's weights under the names of the original format."""
    state = {}
    levels = len(vae.config.block_out_channels)
    for key, weight in vae.state_dict().items():
        new = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        new = new.replace("mid_block.resnets.0", "mid.block_1")
        new = new.replace("mid_block.resnets.1", "mid.block_2")
        new = new.replace("mid_block.attentions.0", "mid.attn_1")
        for level in range(levels):
            new = new.replace(f"down_blocks.{level}.resnets", f"down.{level}.block")
            new = new.replace(f"down_blocks.{level}.downsamplers.0", f"down.{level}.downsample")
            other = levels - 1 - level
            new = new.replace(f"up_blocks.{level}.resnets", f"up.{other}.block")
            new = new.replace(f"up_blocks.{level}.upsamplers.0", f"up.{other}.upsample")
        if "attn_1" in new:
            for ours, theirs in (
                ("group_norm", "norm"),
                ("to_q", "q"),
                ("to_k", "k"),
                ("to_v", "v"),
                ("to_out.0", "proj_out"),
            ):
                new = new.replace(f"attn_1.{ours}", f"attn_1.{theirs}")
            weight = weight[..., None, None] if weight.ndim == 2 else weight
        state[f"first_stage_model.{new}"] = weight
    return state


def checkpoint(pipe: StableDiffusionPipeline) -> dict[str, Tensor]:
    encoder = pipe.text_encoder.state_dict()
    return {
        **original(pipe.unet, "model.diffusion_model."),
        **original_vae(pipe.vae),
        **{f"cond_stage_model.transformer.text_model.{k}": w for k, w in encoder.items()},
    }


def test_a_checkpoint_as_reference(
    tmp_path: Path, sd15: StableDiffusionPipeline, sd15_folder: Path
) -> None:
    """Its weights, not those of the pipeline that gives the configuration."""
    other = tiny_pipelines.sd15(seed=3)
    file = save(checkpoint(other), tmp_path / "a.safetensors")
    pipe = load_pipeline(str(file), PipelineOptions(config=str(sd15_folder)))
    assert torch.equal(output(pipe.unet), output(other.unet))
    for name in ("vae", "text_encoder"):
        found = pipe.components[name].state_dict()
        for key, weight in other.components[name].state_dict().items():
            assert torch.equal(found[key], weight), key


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
def test_without_a_configuration_it_says_what_to_do(tmp_path: Path) -> None:
    file = save(checkpoint(tiny_pipelines.sd15()), tmp_path / "a.safetensors")
    with pytest.raises(AnchorError, match=r"^reference .*a\.safetensors: .* set `config` to"):
        load_pipeline(str(file), PipelineOptions())


def test_an_incomplete_checkpoint_is_refused(tmp_path: Path, sd15_folder: Path) -> None:
    options = PipelineOptions(config=str(sd15_folder))
    for key, message in (
        ("model.diffusion_model.out.2.bias", r"1 of 208 weights are missing: conv_out\.bias"),
        ("first_stage_model.decoder.conv_in.bias", r"weights of its VAE or of a text encoder are"),
        (
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            "weights of its text_encoder are missing",
        ),
    ):
        state = checkpoint(tiny_pipelines.sd15())
        del state[key]
        file = save(state, tmp_path / "a.safetensors")
        with pytest.raises(AnchorError, match=rf"^reference .*a\.safetensors: {message}"):
            load_pipeline(str(file), options)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("model.diffusion_model.extra.weight", "the denoiser"),
        ("first_stage_model.decoder.extra.weight", "its vae"),
        ("cond_stage_model.transformer.text_model.extra.weight", "its text_encoder"),
        ("something.weight", "the denoiser"),
    ],
)
def test_weights_left_over_are_refused(
    tmp_path: Path, sd15_folder: Path, key: str, part: str
) -> None:
    state = checkpoint(tiny_pipelines.sd15()) | {key: torch.ones(2)}
    file = save(state, tmp_path / "a.safetensors")
    with pytest.raises(AnchorError, match=rf"1 weights fit no layer of {part}: .*weight"):
        load_pipeline(str(file), PipelineOptions(config=str(sd15_folder)))


def test_a_marker_that_the_configuration_contradicts(tmp_path: Path, sd15_folder: Path) -> None:
    state = checkpoint(tiny_pipelines.sd15()) | {"v_pred": torch.ones(0)}
    file = save(state, tmp_path / "a.safetensors")
    with pytest.raises(AnchorError, match=r"the file says v_prediction, .*: set `config` to"):
        load_pipeline(str(file), PipelineOptions(config=str(sd15_folder)))


def test_a_suffix_in_capitals(tmp_path: Path, sd15_folder: Path) -> None:
    file = save(checkpoint(tiny_pipelines.sd15()), tmp_path / "a.SAFETENSORS")
    with pytest.raises(AnchorError, match=r"end in \.safetensors: rename it"):
        load_pipeline(str(file), PipelineOptions(config=str(sd15_folder)))


def open_clip(encoder: CLIPTextModel) -> dict[str, Tensor]:
    """The weights of a text encoder as open_clip names and fuses them."""
    state = encoder.state_dict()
    fused = {}
    for key in [key for key in state if ".q_proj." in key]:
        parts = [state.pop(key.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        fused[key.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    names = {
        "text_model.": "",
        "embeddings.token_embedding": "token_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final",
        "encoder.layers": "transformer.resblocks",
        "self_attn": "attn",
        "layer_norm": "ln_",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    renamed = {}
    for key, weight in (state | fused).items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        renamed[f"cond_stage_model.model.{key}"] = weight
    return renamed


def test_a_text_encoder_of_open_clip(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    encoder = tiny_pipelines.perturb(sd15.text_encoder, seed=5)
    state = original(tiny_pipelines.perturb(sd15.unet, seed=1), "model.diffusion_model.")
    state |= open_clip(encoder) | {"cond_stage_model.model.logit_scale": torch.ones(())}
    file = save(state, tmp_path / "a.safetensors")
    parts = load_aligned(sd15, file, options=PipelineOptions())
    assert list(parts) == ["unet", "text_encoder"]
    for key, weight in encoder.state_dict().items():
        assert torch.equal(parts["text_encoder"].state_dict()[key], weight)
    for extra in ("visual.proj", "transformer.resblocks.9.ln_1.weight", "token_embedding.bias"):
        given = state | {f"cond_stage_model.model.{extra}": torch.ones(2)}
        file = save(given, tmp_path / "b.safetensors")
        with pytest.raises(AnchorError, match="1 weights fit no layer of its text_encoder: "):
            load_aligned(sd15, file, options=PipelineOptions())


def test_a_text_encoder_of_another_size(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    state = checkpoint(sd15)
    key = next(key for key in state if key.endswith("token_embedding.weight"))
    state[key] = torch.ones(len(state[key]) + 2, state[key].shape[1])
    file = save(state, tmp_path / "a.safetensors")
    with pytest.raises(
        AnchorError, match=r"token_embedding\.weight of its text_encoder has the sh"
    ):
        load_aligned(sd15, file, options=PipelineOptions())


def test_what_is_left_over_of_a_vae_that_is_passed_through() -> None:
    """diffusers' conversion of LTX renames all that it is given."""
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
    )
    plain = {
        "vae.encoder.conv_in.conv.weight": vae.encoder.conv_in.conv.weight,
        "vae.encoder.conv_out.conv.weight": vae.encoder.conv_out.conv.weight,
        "vae.per_channel_statistics.mean-of-means": vae.latents_mean,
        "vae.per_channel_statistics.channel": torch.ones(8),  # diffusers knows that it is unused
    }
    require_whole_vae(vae, plain)
    with pytest.raises(
        AnchorError, match=r"1 weights fit no layer of its vae: encoder\.extra\.weight"
    ):
        require_whole_vae(vae, {**plain, "vae.encoder.extra.weight": torch.ones(2)})
