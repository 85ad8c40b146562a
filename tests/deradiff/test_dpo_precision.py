"""Diffusion-DPO with less memory: the same gradients, or nearly, from less of it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from deradiff import DPOSettings, PreferencePair, load_anchor
from deradiff.dpo import DPOStep, train
from tiny_clip import pictures

PAIRS = [
    PreferencePair("red", Image.new("RGB", (16, 16), (200, 30, 30)), rejected)
    for rejected in pictures(8, (16, 16))
]
SMALL = DPOSettings(
    beta=50.0, learning_rate=1e-3, batch_size=4, accumulation=1, steps=3, warmup=0, weight_decay=0.0
)


class Observed:
    """Counts the calls of the middle block that keep a graph, and notes the outputs' dtypes."""

    def __init__(self) -> None:
        self.calls, self.dtypes = 0, set[torch.dtype]()

    def __call__(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self.calls += torch.is_grad_enabled()
        self.dtypes.add(output.dtype)


def trained(
    pipe: DiffusionPipeline, output: Path, **overrides: Any
) -> tuple[dict[str, torch.Tensor], list[DPOStep], Observed]:
    """Train and return the weights, the steps, and what a copied hook saw of a resnet block."""
    from safetensors.torch import load_file

    observed, steps = Observed(), list[DPOStep]()
    # A deep copy of the unet, which is what is trained, takes its hooks along.
    hook = pipe.unet.mid_block.resnets[1].conv1.register_forward_hook(_Shared(observed))
    chosen = dataclasses.replace(SMALL, **overrides)
    train(pipe, PAIRS, chosen, output=output, progress=steps.append)
    hook.remove()
    return load_file(next(output.rglob("*.safetensors"))), steps, observed


class _Shared:
    """A hook that stays one object when the module it hangs on is copied."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed

    def __deepcopy__(self, memo: Any) -> _Shared:
        return self

    def __call__(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self.observed(module, inputs, output)


@pytest.mark.parametrize("rank", [None, 2])
def test_gradient_checkpointing_computes_twice_and_trains_the_same_weights(
    tmp_path: Path, sd15: DiffusionPipeline, rank: int | None
) -> None:
    plain, steps, seen = trained(sd15, tmp_path / "plain", lora_rank=rank)
    saved, saved_steps, saved_seen = trained(
        sd15, tmp_path / "saved", lora_rank=rank, gradient_checkpointing=True
    )
    assert saved_steps == steps
    assert saved_seen.calls > seen.calls == 3
    assert all(torch.equal(saved[name], weight) for name, weight in plain.items())
    assert not sd15.unet.is_gradient_checkpointing


@pytest.mark.parametrize("rank", [None, 2])
def test_bfloat16_trains_float32_weights_in_a_similar_direction(
    tmp_path: Path, sd15: DiffusionPipeline, rank: int | None
) -> None:
    overrides = {"lora_rank": rank, "steps": 1}
    whole, _, seen = trained(sd15, tmp_path / "float32", **overrides)
    half, steps, half_seen = trained(sd15, tmp_path / "bf16", mixed_precision="bf16", **overrides)
    assert (seen.dtypes, half_seen.dtypes) == ({torch.float32}, {torch.bfloat16})
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert {weight.dtype for weight in half.values()} == {torch.float32}
    start = sd15.unet.state_dict() if rank is None else {}
    moves = [
        torch.cat([(weights[name] - start.get(name, 0)).flatten() for name in sorted(whole)])
        for weights in (whole, half)
    ]
    assert moves[1].abs().max() > 0
    # AdamW's first step is the gradient's sign, which rounding turns where the gradient is small.
    assert torch.nn.functional.cosine_similarity(*moves, dim=0) > 0.5


def test_bfloat16_with_checkpointing_makes_an_anchor(
    tmp_path: Path, sd15: DiffusionPipeline
) -> None:
    sd15.save_pretrained(tmp_path / "reference")
    chosen = dataclasses.replace(SMALL, mixed_precision="bf16", gradient_checkpointing=True)
    train(sd15, PAIRS, chosen, output=tmp_path / "anchor")
    assert load_anchor(tmp_path / "reference", tmp_path / "anchor", beta=50).beta == 50


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="mixed_precision = 'fp16': expected bf16, or None"):
        dataclasses.replace(SMALL, mixed_precision="fp16")
