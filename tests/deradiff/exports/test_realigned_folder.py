"""A realigned folder gives, in a fresh process, the very images of the anchor that was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

import deradiff
import tiny_pipelines
import warm_processes
from deradiff.formats.lora_keys import LayerParts

CALL = {"num_inference_steps": 3, "guidance_scale": 3.0}
PROMPTS = ["a red three", "blue"]

READ = """
import sys, numpy, torch, deradiff
pipe = deradiff.load(sys.argv[1])
generators = [torch.Generator().manual_seed(i) for i in range(2)]
images = pipe(["a red three", "blue"], generator=generators, output_type="np").images
numpy.save(sys.argv[2], images)
print(pipe.lam, pipe.beta, "peft" in sys.modules)
"""


def images(pipe: Any) -> np.ndarray:
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    found: np.ndarray = pipe(PROMPTS, generator=generators, output_type="np", **CALL).images
    return found


def in_a_fresh_process(folder: Path) -> tuple[np.ndarray, list[str]]:
    output = folder.parent / "images.npy"
    status, printed = warm_processes.run(READ, folder, output)
    assert status == 0, printed
    return np.load(output), printed.splitlines()[-1].split()


def aligned_unet(folder: Path, scale: float = 0.05) -> Path:
    tiny_pipelines.perturb(tiny_pipelines.sd15().unet, 1, scale).save_pretrained(folder / "unet")
    return folder


def lora(folder: Path, *, dora: bool = False, rank: int = 3) -> Path:
    """A LoRA whose scales are not exact in floating point."""
    unet = tiny_pipelines.sd15().unet
    generator = torch.Generator().manual_seed(7)
    state: LayerParts = {}
    for name, module in unet.named_modules():
        if name.endswith(("to_q", "to_v", "conv1")):
            out, *inside = module.weight.shape
            down = torch.randn(rank, *inside, generator=generator)
            up = torch.randn(out, rank, *(1 for _ in inside[1:]), generator=generator)
            state[f"unet.{name}.lora_A.weight"] = 0.3 * down
            state[f"unet.{name}.lora_B.weight"] = 0.3 * up
            state[f"unet.{name}.alpha"] = torch.tensor(0.7 if "to_q" in name else 1.1)
            if dora:
                norm = module.weight.flatten(1).norm(dim=1)
                state[f"unet.{name}.lora_magnitude_vector"] = norm + 0.1
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "lora.safetensors")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "lam"),
    [("denoiser", 0.4), ("lora", 1.7), ("dora", 0.4), ("lora in half precision", 1.7)],
)
def test_a_fresh_process_gives_the_same_images(
    kind: str, lam: float, sd15_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    given = aligned_unet(source) if kind == "denoiser" else lora(source, dora=kind == "dora")
    options = deradiff.PipelineOptions(dtype="bfloat16" if "half" in kind else "float32")
    anchor = deradiff.load_anchor(sd15_folder, given, beta=500, options=options)
    deradiff.save_realigned(anchor, tmp_path / "saved", lam=lam, call=CALL)
    with anchor.realign(lam):
        expected = images(anchor.pipe)
    found, said = in_a_fresh_process(tmp_path / "saved")
    assert np.array_equal(found, expected)
    assert said[:2] == [str(lam), "500"]
    assert not np.array_equal(expected, images(anchor.pipe))


def test_where_weights_lie_in_their_file_does_not_align_them(
    sd15_folder: Path, tmp_path: Path
) -> None:
    """How a tensor is aligned decides how kernels round; mapped from a file it lies anywhere."""
    pipe = StableDiffusionPipeline.from_pretrained(sd15_folder)
    pipe.save_pretrained(tmp_path / "moved")
    for file in (tmp_path / "moved").rglob("*.safetensors"):
        save_file(load_file(file), file, {"format": "pt", "padding": "x" * 12})
    anchor = deradiff.load_anchor(tmp_path / "moved", aligned_unet(tmp_path / "a"), beta=1)
    for module in (anchor.pipe.unet, anchor.pipe.vae, anchor.pipe.text_encoder, anchor.aligned):
        assert {weight.data_ptr() % 64 for weight in module.parameters()} == {0}


def test_a_text_encoder_of_the_aligned_pipelines_own_is_kept(
    sd15_folder: Path, tmp_path: Path
) -> None:
    other = tiny_pipelines.sd15()
    other.unet = tiny_pipelines.perturb(other.unet, 1)
    other.text_encoder = tiny_pipelines.perturb(other.text_encoder, 2, 0.1)
    other.save_pretrained(tmp_path / "aligned")
    anchor = deradiff.load_anchor(sd15_folder, tmp_path / "aligned", beta=None)
    assert set(anchor.aligned) == {"unet", "text_encoder"}
    deradiff.save_realigned(anchor, tmp_path / "saved", lam=0.5, call=CALL)
    with anchor.realign(0.5):
        expected = images(anchor.pipe)
    assert np.array_equal(images(deradiff.load(tmp_path / "saved")), expected)


def test_the_first_steps_of_a_schedule_are_kept(sd15_folder: Path, tmp_path: Path) -> None:
    anchor = deradiff.load_anchor(sd15_folder, aligned_unet(tmp_path / "a"), beta=1)
    for steps in (1, None):
        folder = tmp_path / f"{steps}"
        deradiff.save_realigned(anchor, folder, lam=1.0, call=CALL, aligned_steps=steps)
    one, every = (images(deradiff.load(tmp_path / name)) for name in ("1", "None"))
    assert not np.array_equal(one, every)


def test_a_saved_folder_names_no_path_and_holds_only_safetensors(
    sd15_folder: Path, tmp_path: Path
) -> None:
    anchor = deradiff.load_anchor(sd15_folder, aligned_unet(tmp_path / "a"), beta=1)
    deradiff.save_realigned(anchor, tmp_path / "saved", lam=1.0, call=CALL)
    files = [file for file in (tmp_path / "saved").rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".json", ".txt", ".safetensors", ".jinja"}
    for file in files:
        text = file.read_bytes()
        assert str(tmp_path).encode() not in text, file
        assert str(sd15_folder).encode() not in text, file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "lamsearch export --as realigned"),
        ("{", "not valid JSON"),
        ("[]", "another format"),
        ('{"format": 2}', "another format"),
    ],
)
def test_another_folder_is_refused_in_one_line(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "realigned.json").write_text(text)
    with pytest.raises(deradiff.AnchorError, match=said) as caught:
        deradiff.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_component_that_is_not_there_is_refused(sd15_folder: Path, tmp_path: Path) -> None:
    anchor = deradiff.load_anchor(sd15_folder, aligned_unet(tmp_path / "a"), beta=1)
    deradiff.save_realigned(anchor, tmp_path / "saved", lam=1.0, call=CALL)
    file = tmp_path / "saved" / "realigned.json"
    index = json.loads(file.read_text())
    index["aligned"] = {"../../etc": None}
    file.write_text(json.dumps(index))
    with pytest.raises(deradiff.AnchorError, match=r"names a component '../../etc'"):
        deradiff.load(tmp_path / "saved")
