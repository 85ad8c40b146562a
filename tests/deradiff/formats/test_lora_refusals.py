"""Tensors and configurations of a LoRA that say too little, too much or nonsense are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from deradiff import AnchorError

from .files import assert_same, attention_layers, changed, dotted, factors, kohya, load, save

State = dict[str, Tensor]


def only(role: str, change: Callable[[Tensor], Tensor]) -> Callable[[State], State]:
    """Change the tensors of one role in a kohya file."""
    return lambda state: {k: change(t) if role in k else t for k, t in state.items()}


def magnitudes(state: State, every: int, fill: float = 2.0) -> State:
    layers = [key.removesuffix(".lora_up.weight") for key in state if "lora_up" in key]
    sizes = {layer: len(state[f"{layer}.lora_up.weight"]) for layer in layers[::every]}
    return state | {f"{n}.dora_scale": torch.full((size, 1), fill) for n, size in sizes.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            only("lora_down", lambda t: t.to(torch.int8)),
            r"is quantized: the down of .* torch\.int8",
        ),
        (only("lora_up", lambda t: t > 0), r"is quantized: the up of .* torch\.bool"),
        (only("alpha", lambda t: t * float("nan")), "holds NaN or infinity in the alpha of"),
        (only("alpha", lambda t: t * float("inf")), "holds NaN or infinity in the alpha of"),
        (only("lora_up", lambda t: t * float("nan")), "holds NaN or infinity in the up of"),
        (only("alpha", lambda t: t.repeat(2)), r"alpha of .* has the shape \(2,\), expected a num"),
        (only("lora_down", lambda t: t.T), "the factors of the layer .* do not fit|does not fit"),
        (only("lora_down", lambda t: t.flatten()), "cannot be loaded"),
        (
            lambda s: {
                k: t[:0] if "lora_down" in k else t[:, :0] if "lora_up" in k else t
                for k, t in s.items()
            },
            "layers with factors of rank 0",
        ),
        (
            lambda s: magnitudes(s, every=2),
            r"is a DoRA, but 12 of its 24 layers have no magnitude \(lora_unet_.*save it again",
        ),
        (lambda s: magnitudes(s, every=1, fill=float("nan")), "holds NaN or infinity in the magn"),
        (
            lambda s: {k: t for k, t in magnitudes(s, every=1).items() if "lora_" not in k[10:]},
            "layers of which a factor is missing",
        ),
    ],
)
def test_unsound_tensors(
    tmp_path: Path,
    sd15: StableDiffusionPipeline,
    change: Callable[[State], State],
    message: str,
) -> None:
    state = change(kohya(factors(sd15.unet, attention_layers(sd15.unet))))
    with pytest.raises(AnchorError, match=rf"^aligned .*a\.safetensors: .*({message})"):
        load(sd15, save(state, tmp_path / "a.safetensors"))


def test_factors_of_other_types_are_their_values(
    tmp_path: Path, sd15: StableDiffusionPipeline
) -> None:
    for number, dtype in enumerate((torch.float64, torch.bfloat16, torch.float8_e4m3fn)):
        given = {
            name: (down.to(dtype).float(), up.to(dtype).float(), alpha)
            for name, (down, up, alpha) in factors(sd15.unet, attention_layers(sd15.unet)).items()
        }
        expected = changed(sd15.unet, given)
        state = {k: t if "alpha" in k else t.to(dtype) for k, t in kohya(given).items()}
        state = {k: t.reshape(1) if "alpha" in k else t for k, t in state.items()}
        assert_same(load(sd15, save(state, tmp_path / f"{number}.safetensors")), expected)
        sd15.unet.delete_adapters("aligned")


def peft(folder: Path, sd15: StableDiffusionPipeline, config: object) -> Path:
    given = factors(sd15.unet, attention_layers(sd15.unet), varied=False)
    state = dotted(given, "base_model.model.", "lora_A", "lora_B")
    save(state, folder / "adapter_model.safetensors")
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "adapter_config.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"use_dora": True}, r"is a DoRA by its configuration \(use_dora\), but the file holds no"),
        ({"lora_bias": True}, "trains other weights than its factors, by the lora_bias of"),
        ({"bias": "all"}, "trains other weights than its factors, by the bias of"),
        ({"modules_to_save": ["conv_in"]}, "trains other weights .*, by the modules_to_save of"),
        ({"layer_replication": [[0, 1]]}, r"replicates layers \(layer_replication\)"),
        ({"use_qalora": True}, "its configuration sets use_qalora, which is not supported"),
        ({"brand_new": 3}, "its configuration sets brand_new, which is not supported"),
        ({"peft_type": "VERA"}, "is a peft adapter of type VERA, expected LORA, LOHA or LOKR"),
        ({"init_lora_weights": "olora"}, "changes the base weights too"),
        ({"r": 3}, r"has rank 2, but the adapter's configuration says 3: it belongs to another"),
        ({"lora_alpha": "x"}, "its configuration gives no scale for"),
        ({"lora_alpha": None}, "its configuration gives no scale for"),
        ({"alpha_pattern": {"(": 2}}, "its configuration gives no scale for"),
        ({"lora_alpha": float("nan")}, "the scale of the layer .* is nan: correct its alpha"),
        ("{", r"the adapter_config\.json beside it is no JSON"),
        ("[]", r"the adapter_config\.json beside it is no JSON object"),
    ],
)
def test_configurations_of_peft_that_are_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, setting: Any, message: str
) -> None:
    config = setting if isinstance(setting, str) else {"r": 2, "lora_alpha": 2, **setting}
    with pytest.raises(AnchorError, match=f"^aligned .*{message}"):
        load(sd15, peft(tmp_path, sd15, config))


@pytest.mark.parametrize(
    ("setting", "scale"),
    [
        ({"use_rslora": True}, 2 / 2**0.5),
        ({"fan_in_fan_out": True}, 1.0),  # which peft ignores for linear layers
        ({"exclude_modules": ["x"], "bias": "none", "modules_to_save": []}, 1.0),
        ({"init_lora_weights": "eva", "lora_dropout": 0.1, "peft_version": "0.21"}, 1.0),
        ({"lora_alpha": 8.0, "r": 2.0}, 4.0),
    ],
)
def test_settings_of_peft_that_are_over_after_training(
    tmp_path: Path, sd15: StableDiffusionPipeline, setting: dict[str, Any], scale: float
) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet), varied=False)
    expected = changed(sd15.unet, {n: (down, up, 2 * scale) for n, (down, up, _) in given.items()})
    found = load(sd15, peft(tmp_path, sd15, {"r": 2, "lora_alpha": 2, **setting}))
    assert_same(found, expected)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_metadata_that_is_no_object(
    tmp_path: Path, sd15: StableDiffusionPipeline, text: str
) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet))
    state = dotted(given, "unet.", "lora_A", "lora_B")
    file = save(state, tmp_path / "a.safetensors", {"lora_adapter_metadata": text})
    with pytest.raises(AnchorError, match="the lora_adapter_metadata is no JSON"):
        load(sd15, file)


def test_layers_of_two_denoisers(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet))
    unet = dotted(given, "unet.", "lora_A", "lora_B")
    for other, message in (
        (dotted(given, "prior.", "lora_A", "lora_B"), "layers that the denoiser does not have"),
        (dotted(given, "transformer.", "lora_A", "lora_B"), "changes the layer .* twice"),
        (kohya(given), "changes the layer .* twice"),
    ):
        with pytest.raises(AnchorError, match=message):
            load(sd15, save(unet | other, tmp_path / "a.safetensors"))


def test_a_loha_whose_factors_do_not_fit(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    name = attention_layers(sd15.unet)[0]
    out, wide = sd15.unet.get_submodule(name).weight.shape
    key = f"lora_unet_{name.replace('.', '_')}"
    state = {f"{key}.hada_w{n}_a": torch.ones(out, 2) for n in (1, 2)}
    state |= {f"{key}.hada_w{n}_b": torch.ones(1 + n, wide) for n in (1, 2)}
    with pytest.raises(AnchorError, match=f"the factors of the layer {name} do not fit each other"):
        load(sd15, save(state, tmp_path / "a.safetensors"))
