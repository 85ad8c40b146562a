"""A large study and a busy one: seconds and memory to open, answer and propose; time spent waiting.

    python -m examples.benchmarks.load --output load.json

The large study has 10,000 evaluations of 100 images each, of 400 λs, in an SQLite file. Opened,
answered and proposed from in a process of its own, as `lamsearch show` and a worker would.

The busy one has 8 workers on one SQLite file, each of which finishes an evaluation of 4 batches
about every second: how much of their time they wait for the database, and whether any is lost. The
policy is one that costs nothing, so that only the database is measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from examples.benchmarks.environment import environment
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.report.summarize import summarize
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.history import History
from lamsearch.study.proposal import Budget, Proposal

LAMS, BLOCKS, IMAGES = 400, 25, 100
WORKERS, EVALUATIONS, BATCHES, WORK_SECONDS = 8, 10, 4, 1.0
GOALS = {"seconds": 5.0, "gigabytes": 1.0, "share of time waited": 0.1}

_PROCESSES = multiprocessing.get_context("spawn")


def make_large(url: str) -> None:
    """Store the large study."""
    study = Study.create("large", url)
    study.bind({**SearchConfig(budget=20_000).manifest(500.0), "images": IMAGES})
    generator = np.random.default_rng(0)
    effects = generator.normal(0, 0.1, BLOCKS * IMAGES)
    for block in range(BLOCKS):
        ids = range(block * IMAGES, (block + 1) * IMAGES)
        for lam in np.linspace(0, 1, LAMS).round(6).tolist():
            scores = effects[ids] - (lam - 0.4) ** 2 + generator.normal(0, 0.02, IMAGES)
            batch = Batch(ids, scores.tolist(), 1.0, {}, BLOCKS * IMAGES)
            trial = create_trial(
                state=TrialState.COMPLETE,
                value=float(scores.mean()),
                params={"lam": lam},
                distributions={"lam": FloatDistribution(0, 1)},
                user_attrs={"images": [[ids[0], ids[-1] + 1]], batch.key(): batch.to_json()},
            )
            study._database.create_new_trial(study._study._study_id, template_trial=trial)


def use_large(url: str, found: Any) -> None:
    """Open the large study, make its answer and propose; send the seconds of each."""
    began = time.perf_counter()
    study = Study.create("large", url)
    history = study.history()
    opened = time.perf_counter()
    summary = summarize(study, history=history)
    answered = time.perf_counter()
    proposal = SearchPolicy(SearchConfig(budget=20_000))(study.history())
    proposed = time.perf_counter()
    assert proposal is not None
    assert abs(summary.lam - 0.4) < 0.05
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found.put(
        {
            "open": opened - began,
            "show": answered - opened,
            "propose": proposed - answered,
            "gigabytes": memory,
        }
    )


class Steps:
    """Proposes 0.001 more than the largest λ there is."""

    def __call__(self, history: History) -> Proposal:
        """Return the next λ."""
        return Proposal(round(max((e.lam for e in history.evaluations), default=0) + 0.001, 3))

    def images_at(self, lam: float, history: History) -> None:
        """Return None: there are no images."""


def be_busy(url: str, ready: Any, found: Any) -> None:
    """Evaluate in turn with other workers; send the share of the time that was waited."""
    study, waited = Study.create("busy", url, (0.0, 1.0)), 0.0
    ready.wait()
    began = time.perf_counter()
    while True:
        asked = time.perf_counter()
        assignment = study.next_evaluation(Steps(), Budget(WORKERS * EVALUATIONS))
        waited += time.perf_counter() - asked
        if assignment is None:
            break
        evaluation = assignment.evaluation
        for batch in range(BATCHES):
            time.sleep(WORK_SECONDS / BATCHES)
            asked = time.perf_counter()
            study.record(evaluation, Batch([batch], [evaluation.lam]))
            waited += time.perf_counter() - asked
        asked = time.perf_counter()
        study.finish(evaluation)
        waited += time.perf_counter() - asked
    found.put(waited / (time.perf_counter() - began))


def measure_large(folder: Path) -> dict[str, float]:
    """Return what the large study costs."""
    url, found = f"sqlite:///{folder}/large.db", _PROCESSES.Queue()
    make_large(url)
    user = _PROCESSES.Process(target=use_large, args=(url, found))
    user.start()
    result: dict[str, float] = found.get()
    user.join()
    return result


def measure_busy(folder: Path) -> dict[str, float]:
    """Return how long the workers waited, and what was lost."""
    url, found = f"sqlite:///{folder}/busy.db", _PROCESSES.Queue()
    Study.create("busy", url)
    ready = _PROCESSES.Barrier(WORKERS)
    workers = [_PROCESSES.Process(target=be_busy, args=(url, ready, found)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    shares = [found.get() for _ in workers]
    for worker in workers:
        worker.join()
    done = Study.open("busy", url).history().finished
    whole = sum(len(each.scores) == BATCHES for each in done)
    return {
        "workers": WORKERS,
        "share of time waited": float(np.mean(shares)),
        "lost": WORKERS * EVALUATIONS - whole,
    }


def main() -> None:
    """Print both, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        large, busy = measure_large(Path(folder)), measure_busy(Path(folder))
    for name, figures in (("large study", large), ("busy study", busy)):
        print(name, *(f"{key} {value:.3g}" for key, value in figures.items()), sep="; ")
    print("goals", *(f"{key} {value:g}" for key, value in GOALS.items()), sep="; ")
    if output is not None:
        result = {"environment": environment(), "large": large, "busy": busy, "goals": GOALS}
        output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
