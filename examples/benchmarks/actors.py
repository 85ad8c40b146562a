"""How well the images of one evaluation are shared among actors, on the bundled world.

    OMP_NUM_THREADS=1 python -m examples.benchmarks.actors --output actors.json

Each actor has one thread, so this needs as many idle cores as actors. The efficiency is the time of
a serial run, divided by the time of the actors and by their number. The parts of the model in
docs/how-to/many-gpus.md are printed besides: the time until an actor is ready, the seconds per
image inside the actors, what a shard costs beyond its work, and what a proposal takes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import lamsearch
from examples.benchmarks.environment import environment
from lamsearch.evaluation.actor_state import ActorState
from lamsearch.study.records import Evaluation


class Clock:
    """A progress that notes when evaluations begin and end."""

    def __init__(self) -> None:
        self.ready: list[float] = []
        self.spans: list[float] = []
        self.gaps: list[float] = []
        self.work: dict[int, float] = {}
        self._since = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        passed, self._since = now - self._since, now
        return passed

    def started(self, evaluation: Evaluation, done: int) -> None:
        self.gaps.append(self._lap())

    def finished(self, evaluation: Evaluation) -> None:
        self.spans.append(self._lap())

    def scored(self, evaluation: Evaluation, images: int) -> None: ...

    def mixing(self, way: str) -> None: ...

    def confirming(self, lams: int, images: int) -> None: ...

    def actor(self, state: ActorState) -> None:
        self.work[state.number] = state.seconds
        if state.news and state.news.startswith("ready"):
            self.ready.append(time.perf_counter() - self._since)


def search(actors: int, *, budget: int, images: int, batch_size: int) -> dict[str, float]:
    """Return the seconds of one search's parts; 0 actors are a serial run."""
    sharing = {"ray": "local", "actors": actors} if actors else {}
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        lamsearch.run(
            "beta500",
            "pickscore",
            budget,
            images=images,
            batch_size=batch_size,
            device="cpu",
            storage=f"sqlite:///{Path(folder) / 'studies.db'}",
            progress=clock,
            **sharing,
        )
    # The first two are λ = 0 and 1, with one model each; the last actor may come late to the first.
    wall = sum(clock.spans[2:])
    shards = (budget - 2) * -(-images // batch_size)
    return {
        "ready": max(clock.ready, default=clock.gaps[0]),
        "wall": wall,
        "work": sum(clock.work.values()),
        "per image": wall * max(1, actors) / ((budget - 2) * images),
        "shards": shards,
        "proposal": median(clock.gaps[3:]),
    }


def main(
    budget: int = 6,
    images: int = 48,
    batch_size: int = 6,
    repetitions: int = 3,
    output: str | None = None,
) -> dict[str, dict[str, float]]:
    """Print, and return, the medians of the parts with no, one and two actors."""
    names = {0: "serial", 1: "1 actor", 2: "2 actors"}
    runs: dict[int, list[dict[str, float]]] = {actors: [] for actors in names}
    for _ in range(repetitions):  # interleaved: a machine is not the same all the time
        for actors, found in runs.items():
            found.append(search(actors, budget=budget, images=images, batch_size=batch_size))
    result = {
        names[actors]: {key: median(each[key] for each in found) for key in found[0]}
        for actors, found in runs.items()
    }
    serial = result["serial"]
    for actors, name in names.items():
        parts = result[name]
        parts["efficiency"] = serial["wall"] / parts["wall"] / max(1, actors)
        parts["overhead per shard"] = (parts["wall"] * max(1, actors) - serial["wall"]) / parts[
            "shards"
        ]
        print(
            f"{name:9} ready after {parts['ready']:5.1f} s, {parts['wall']:6.2f} s, "
            f"efficiency {parts['efficiency']:.2f}, {parts['per image']:.4f} s per image, "
            f"{1000 * parts['overhead per shard']:.1f} ms more per shard, "
            f"{parts['proposal']:.2f} s per proposal"
        )
    if output:
        facts = {"environment": environment(), "images": images, "batch size": batch_size}
        Path(output).write_text(json.dumps({**facts, "seconds": result}, indent=1) + "\n")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budget", type=int, default=6)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output")
    main(**vars(parser.parse_args()))
