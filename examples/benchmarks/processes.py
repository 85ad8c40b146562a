"""Seeds of a benchmark, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")


def map_seeds(
    function: Callable[[int], T],
    seeds: Iterable[int],
    processes: int,
    prepare: Callable[[], None] | None = None,
) -> Iterator[T]:
    """Yield `function(seed)` in the order of the seeds.

    Args:
        function: What to call.
        seeds: Its arguments.
        processes: Number of fresh processes; 1 is this one.
        prepare: Called once in each fresh process.
    """
    if processes == 1:
        yield from map(function, seeds)
        return
    context = get_context("spawn")  # CUDA does not survive a fork
    with ProcessPoolExecutor(processes, context, prepare) as pool:
        yield from pool.map(function, seeds)
