"""What share of a search's run time goes into the denoisers' forward passes?

    python examples/benchmarks/forward_share.py

Model loading is left out, everything else is in: text encoding, the scheduler, the VAE, the reward,
the surrogate and the database. Prints the share and writes nothing but a study in a temporary
folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import diffusers
import torch

import lamsearch
from lamsearch.study import Evaluation


class Stopwatch:
    """Adds up the time spent in a function; nested calls count once."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - began

        return timed


class SearchClock:
    """Notes when the search begins: models are loaded and prompts encoded by then."""

    def __init__(self) -> None:
        self.began: float | None = None

    def started(self, evaluation: Evaluation) -> None:
        self.began = self.began or time.perf_counter()

    def scored(self, evaluation: Evaluation, images: int) -> None: ...

    def finished(self, evaluation: Evaluation) -> None: ...


def main(
    anchor: str = "beta500", reward: str = "pickscore", budget: int = 12, **options: Any
) -> float:
    stopwatch, clock = Stopwatch(), SearchClock()
    unet = diffusers.UNet2DConditionModel
    forward = unet.forward
    unet.forward = stopwatch.around(forward)
    try:
        with tempfile.TemporaryDirectory() as folder:
            before = stopwatch.seconds
            lamsearch.run(
                anchor,
                reward,
                budget,
                storage=f"sqlite:///{folder}/studies.db",
                progress=clock,
                **options,
            )
            assert clock.began is not None
            total = time.perf_counter() - clock.began
    finally:
        unet.forward = forward
    share = (stopwatch.seconds - before) / total
    names = ("torch", "diffusers", "transformers", "botorch", "optuna")
    print(
        f"python {platform.python_version()}, {', '.join(f'{n} {version(n)}' for n in names)}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    print(f"search {total:.1f} s, of which denoisers' forward passes {100 * share:.1f} %")
    return share


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=12)
    main(**vars(parser.parse_args()))
