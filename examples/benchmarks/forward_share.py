"""What share of a search's run time goes into the denoisers' forward passes?

    python -m examples.benchmarks.forward_share

The clock runs from the first evaluation to the answer. Loading the models is left out; encoding the
prompts, once per search, the scheduler, the VAE, the reward, the surrogate and the database are in.
The study goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import diffusers
import torch

import lamsearch
from examples.benchmarks.environment import environment
from lamsearch.study.records import Evaluation


class Stopwatch:
    """Adds up the time spent in a function; nested calls count once."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
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
    """Notes when the first evaluation begins, and then sets the stopwatch to zero."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.began, self._stopwatch = 0.0, stopwatch

    def started(self, evaluation: Evaluation, done: int) -> None:
        if not self.began:
            self.began, self._stopwatch.seconds = time.perf_counter(), 0.0

    def scored(self, evaluation: Evaluation, images: int) -> None: ...

    def mixing(self, way: str) -> None: ...

    def finished(self, evaluation: Evaluation) -> None: ...

    def confirming(self, lams: int, images: int) -> None: ...


def main(
    anchor: str = "beta500", reward: str = "pickscore", budget: int = 12, **options: Any
) -> float:
    stopwatch = Stopwatch()
    clock = SearchClock(stopwatch)
    unet = diffusers.UNet2DConditionModel
    forward = unet.forward
    unet.forward = stopwatch.around(forward)
    try:
        with tempfile.TemporaryDirectory() as folder:
            lamsearch.run(
                anchor,
                reward,
                budget,
                storage=f"sqlite:///{folder}/studies.db",
                progress=clock,
                **options,
            )
            total = time.perf_counter() - clock.began
    finally:
        unet.forward = forward
    share = stopwatch.seconds / total
    print(f"{environment()}, {torch.get_num_threads()} threads")
    print(f"search {total:.1f} s, of which denoisers' forward passes {100 * share:.1f} %")
    return share


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=12)
    main(**vars(parser.parse_args()))
