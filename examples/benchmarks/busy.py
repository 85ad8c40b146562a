"""How much a busy machine slows the search down, with and without lamsearch's spin setting.

    python -m examples.benchmarks.busy --repetitions 3 --output busy.json

OpenMP threads spin while they wait for each other. Where another process takes a core, they wait
long, and small models then spend nearly all their time on it. The command line therefore shortens
the spinning (`lamsearch/process.py`). This script searches the bundled world with 4 evaluations of
48 images on all cores, alone and beside one process that never rests, with that setting and with
the default of GNU's OpenMP, which torch uses on Linux. Seconds are the wall time of the 4
evaluations, without imports and loading; medians over the repetitions. Run it on a machine that has
nothing else to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import product
from statistics import median
from typing import Any

from examples.benchmarks.environment import environment, timing_arguments, timings
from examples.benchmarks.startup import PROGRAM, SEARCH
from lamsearch.process import SPIN_COUNT

SETTINGS = {
    f"lamsearch's (GOMP_SPINCOUNT={SPIN_COUNT})": {},
    # Set explicitly, so that lamsearch leaves it alone.
    "OpenMP's default (GOMP_SPINCOUNT=300000)": {"GOMP_SPINCOUNT": "300000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread (OMP_NUM_THREADS=1)": {"OMP_NUM_THREADS": "1"},
}
OPENMP = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Variables of the caller that the searches must not inherit."""


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def search_seconds(setting: dict[str, str], budget: int, images: int) -> float:
    """Return the wall seconds of the evaluations of one search."""
    inherited = {name: value for name, value in os.environ.items() if name not in OPENMP}
    size = ("--budget", str(budget), "--images", str(images))
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(
            [*PROGRAM, *SEARCH, *size, "--storage", "sqlite:///studies.db", "--json"],
            cwd=folder,
            env=inherited | setting,
            check=True,
            capture_output=True,
        )
    return float(json.loads(found.stdout)["seconds"])


def main(
    repetitions: int = 3, budget: int = 4, images: int = 48, output: str | None = None
) -> dict[str, Any]:
    seconds: dict[str, dict[str, list[float]]] = {
        name: {"alone": [], "busy": []} for name in SETTINGS
    }
    # All cases in turn, so that a slow minute of the machine meets each of them.
    for _, (name, setting), place in product(
        range(repetitions), SETTINGS.items(), ("alone", "busy")
    ):
        with busy_process() if place == "busy" else nullcontext():
            seconds[name][place].append(round(search_seconds(setting, budget, images), 3))
    print(f"{environment()}\n{budget} evaluations of {images} images, {repetitions} repetitions\n")
    print("| spin setting | alone, s | beside a busy process, s | ratio |\n|---|---|---|---|")
    for name, found in seconds.items():
        alone, busy = median(found["alone"]), median(found["busy"])
        print(f"| {name} | {alone:.1f} | {busy:.1f} | {busy / alone:.1f} |")
    return timings("busy", seconds, repetitions=repetitions, output=output)


if __name__ == "__main__":
    main(**timing_arguments(__doc__, repetitions=3))
