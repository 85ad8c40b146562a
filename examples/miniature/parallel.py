"""Independent jobs in single-threaded worker processes, one for each core.

Networks this small gain little from a second thread, and much from a second process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

import torch


def run_jobs(
    function: Callable[..., None], jobs: Iterable[tuple], *, processes: int | None = None
) -> None:
    """Call `function(*job)` for each job; the first error is raised.

    Args:
        function: What to call.
        jobs: Its arguments.
        processes: Number of fresh processes; 0 is this one, None one for each core.
    """
    if processes == 0:
        for job in jobs:
            function(*job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes or os.cpu_count(), context, torch.set_num_threads, (1,)
    ) as pool:
        for done in [pool.submit(function, *job) for job in jobs]:
            done.result()
