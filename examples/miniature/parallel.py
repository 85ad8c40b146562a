"""Independent jobs in single-threaded worker processes, one for each core.

Networks this small gain little from a second thread, and much from a second process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

import torch


def run_jobs(function: Callable[..., None], jobs: Iterable[tuple]) -> None:
    """Call `function(*job)` for each job, in fresh processes; the first error is raised."""
    context = multiprocessing.get_context("spawn")
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        for done in [pool.submit(function, *job) for job in jobs]:
            done.result()
