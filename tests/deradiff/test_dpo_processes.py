"""Diffusion-DPO on several processes: the weights of one, however many share the work."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

import tiny_pipelines
from deradiff import DPOSettings, PreferencePair
from deradiff.dpo import DPOStep, train
from deradiff.dpo.processes import Processes
from tiny_clip import pictures

RED = Image.new("RGB", (16, 16), (200, 30, 30))
PAIRS = [PreferencePair("red", RED, rejected) for rejected in pictures(8, (16, 16))]
SETTINGS = DPOSettings(
    beta=500.0, learning_rate=1e-4, batch_size=1, accumulation=4, steps=3, warmup=1, ema=0.5,
    checkpoint_every=1,
)  # fmt: skip

SCRIPT = f"""
import json
import sys
from pathlib import Path

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
from accelerate import Accelerator

from test_dpo_processes import in_processes

torch.set_num_threads(1)
print(json.dumps(in_processes(Path(sys.argv[1]), Accelerator(cpu=True))))
"""


def trained(
    output: Path, accelerator: Accelerator | None = None, *, stop_after: int = 0
) -> list[DPOStep]:
    """Train, or begin to and be stopped after a step, and return the steps."""
    steps = []

    def progress(step: DPOStep) -> None:
        steps.append(step)
        if step.step == stop_after:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        train(
            tiny_pipelines.sd15(), PAIRS, SETTINGS, output=output, progress=progress,
            accelerator=accelerator,
        )  # fmt: skip
    return steps


def in_processes(folder: Path, accelerator: Accelerator) -> list[list[DPOStep]]:
    """Train at a stretch, then with an interruption, and return the steps of each training."""
    return [
        trained(folder / "together", accelerator),
        trained(folder / "torn", accelerator, stop_after=2),
        trained(folder / "torn", accelerator),
    ]


def launch(folder: Path, *, processes: int) -> list[list[DPOStep]]:
    """Start processes with the variables that `accelerate launch` gives them.

    Returns:
        What `in_processes` returned in the main process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    ended = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    reports = json.loads(ended[0][0].splitlines()[-1])
    return [[DPOStep(*step) for step in report] for report in reports]


@pytest.mark.slow
def test_two_processes_train_the_weights_of_one_and_resume(tmp_path: Path) -> None:
    together, torn, resumed = launch(tmp_path, processes=2)
    alone = trained(tmp_path / "alone")
    assert [step.step for step in together] == [1, 2, 3]
    for one, two in zip(alone, together, strict=True):
        assert two[:2] == pytest.approx(one[:2], rel=1e-4)
    # At first model and reference agree, and rounding decides what is preferred.
    assert [step.accuracy for step in together[1:]] == [step.accuracy for step in alone[1:]]
    assert torn == together[:2]
    assert resumed == together[1:]  # the step that was not written is repeated
    weights = {
        name: load_file(next((tmp_path / name).rglob("*.safetensors")))
        for name in ("alone", "together", "torn")
    }
    for name, weight in weights["alone"].items():
        torch.testing.assert_close(weights["together"][name], weight, rtol=1e-4, atol=2e-5)
        assert torch.equal(weights["torn"][name], weights["together"][name])


class _Accelerator:
    """What `Processes` takes of an accelerator, for numbers of processes that a test cannot run."""

    def __init__(self, count: int, index: int, mixed_precision: str = "no") -> None:
        self.num_processes, self.process_index = count, index
        self.is_main_process, self.mixed_precision = index == 0, mixed_precision
        self.messages: list[int] = []

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        """Return the sum over processes that all hold the same."""
        assert reduction == "sum"
        self.messages.append(tensor.numel())
        return self.num_processes * tensor


def test_gradients_are_summed_in_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deradiff.dpo.processes._BUCKET", 12)
    accelerator = _Accelerator(2, 0)
    shapes = [(2, 3), (6,), (5, 1), (20,), (1,), (3, 1, 2, 1)]
    weights = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    weights += [torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.randn(weight.shape).to(weight.dtype)
        if weight.dim() == 4:
            weight.grad = weight.grad.to(memory_format=torch.channels_last)
    weights.append(torch.nn.Parameter(torch.zeros(4)))  # has none
    expected = [None if weight.grad is None else 2 * weight.grad for weight in weights]
    Processes(DPOSettings(beta=500, accumulation=2), accelerator).sum_gradients(weights)
    assert accelerator.messages == [12, 5, 20, 7, 6]
    for weight, gradient in zip(weights, expected, strict=True):
        assert (weight.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(weight.grad, gradient)


def test_every_micro_batch_is_taken_once() -> None:
    settings = DPOSettings(beta=500, accumulation=12)
    for count in (1, 2, 3, 4, 6, 12):
        members = [Processes(settings, _Accelerator(count, k)) for k in range(count)]
        for step in (0, 5):
            taken = [number for member in members for number in member.micro_batches(step)]
            assert sorted(taken) == list(range(12 * step, 12 * step + 12))
    assert list(Processes(settings, None).micro_batches(2)) == list(range(24, 36))


def test_what_processes_cannot_share_is_refused() -> None:
    settings = DPOSettings(beta=500, accumulation=12)
    with pytest.raises(ValueError, match="accumulation = 12 does not divide among 5 processes"):
        Processes(settings, _Accelerator(5, 0))
    with pytest.raises(ValueError, match="has mixed_precision 'bf16' and the settings None"):
        Processes(settings, _Accelerator(2, 0, "bf16"))
