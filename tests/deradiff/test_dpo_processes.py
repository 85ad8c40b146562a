"""Diffusion-DPO on several processes: the weights of one, however many share the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deradiff import DPOSettings
from deradiff.dpo.processes import Processes

SCRIPT = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch
from accelerate import Accelerator
from PIL import Image

import tiny_pipelines
from deradiff import DPOSettings, PreferencePair
from deradiff.dpo import train
from tiny_clip import pictures

torch.set_num_threads(1)
output, stop_after = Path(sys.argv[2]), int(sys.argv[3])
red = Image.new("RGB", (16, 16), (200, 30, 30))
pairs = [PreferencePair("red", red, rejected) for rejected in pictures(8, (16, 16))]
settings = DPOSettings(
    beta=500.0, learning_rate=1e-4, batch_size=1, accumulation=4, steps=4, warmup=1, ema=0.5,
    checkpoint_every=2,
)
accelerator = Accelerator(cpu=True)

def progress(step):
    if accelerator.is_main_process:
        print(step.step, repr(step.loss), repr(step.accuracy))
    if step.step == stop_after:
        raise SystemExit(0)

train(
    tiny_pipelines.sd15(), pairs, settings, output=output, progress=progress,
    accelerator=accelerator,
)
"""


def launch(folder: Path, output: Path, *, processes: int, stop_after: int = 0) -> list[list[float]]:
    """Run the script as `accelerate launch` does.

    Returns:
        (step, loss, accuracy) of each step.
    """
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), str(script)),
            *(str(Path(__file__).parents[1]), str(output), str(stop_after)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_two_processes_train_the_weights_of_one_and_resume(tmp_path: Path) -> None:
    alone = launch(tmp_path, tmp_path / "alone", processes=1)
    together = launch(tmp_path, tmp_path / "together", processes=2)
    assert [step for step, *_ in together] == [1, 2, 3, 4]
    for one, two in zip(alone, together, strict=True):
        assert two[:2] == pytest.approx(one[:2], rel=1e-4)
    # At first model and reference agree, and rounding decides what is preferred.
    assert [step[2] for step in together[1:]] == [step[2] for step in alone[1:]]
    torn = launch(tmp_path, tmp_path / "torn", processes=2, stop_after=3)
    assert len(torn) == 3
    assert [step for step, *_ in launch(tmp_path, tmp_path / "torn", processes=2)] == [3, 4]
    weights = {
        name: load_file(next((tmp_path / name).rglob("*.safetensors")))
        for name in ("alone", "together", "torn")
    }
    for name, weight in weights["alone"].items():
        torch.testing.assert_close(weights["together"][name], weight, rtol=1e-4, atol=2e-5)
        assert torch.equal(weights["torn"][name], weights["together"][name])


class _Accelerator:
    """What `Processes` reads of an accelerator, for numbers of processes that a test cannot run."""

    def __init__(self, count: int, index: int, mixed_precision: str = "no") -> None:
        self.num_processes, self.process_index = count, index
        self.is_main_process, self.mixed_precision = index == 0, mixed_precision


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
