"""A running search → a live progress bar: λ, images done, time left."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lamsearch.evaluation.actor_state import ActorState
from lamsearch.report.terminal import line
from lamsearch.study.records import Evaluation


class SearchProgress:
    """Shows a search on a console; without a terminal, one line per evaluation.

    Args:
        console: Where to draw.
        images: Number of images in the whole search.
    """

    def __init__(self, console: Console, *, images: int) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("loading models", total=images)

        self._actors: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def started(self, evaluation: Evaluation, done: int) -> None:
        """Show the λ that is being evaluated."""
        description = f"λ = {evaluation.lam:.3f} (evaluation {evaluation.number + 1})"
        self._progress.update(self._task, description=description, completed=done)

    def scored(self, evaluation: Evaluation, images: int) -> None:
        """Advance by a batch."""
        self._progress.advance(self._task, images)

    def mixing(self, way: str) -> None:
        """Print how the models are mixed."""
        self._console.print(line(f"mixture  {way}"))

    def finished(self, evaluation: Evaluation) -> None:
        """Print the evaluation's mean score above the bar."""
        present = [score for score in evaluation.scores.values() if not math.isnan(score)]
        mean = sum(present) / len(present) if present else math.nan
        self._console.print(
            f"λ = {evaluation.lam:.3f}   mean score {mean:.5f}   "
            f"{len(present)} of {len(evaluation.scores)} images   {evaluation.seconds:.1f} s",
            markup=False,
        )

    def emulating(self, anchor: str, lams: int, images: int) -> None:
        """Begin a new bar for an anchor of a family."""
        self._console.print(line(f"anchor {anchor}: {images} images at each of {lams} λs"))
        self._progress.reset(self._task, total=images * lams)

    def actor(self, state: ActorState) -> None:
        """Show what an actor does in a line of its own; its news are printed above."""
        if state.news is not None:
            self._console.print(line(f"actor {state.number}  {state.news}"))
        if state.number not in self._actors:
            self._actors[state.number] = self._progress.add_task("", total=None)
        self._progress.update(
            self._actors[state.number],
            description=f"  actor {state.number}: {state.activity}",
            completed=state.images,
        )

    def confirming(self, lams: int, images: int) -> None:
        """Begin a new bar for the held-out images."""
        self._console.print(
            f"confirming λ* on {images} held-out images at each of {lams} λs", markup=False
        )
        self._progress.reset(self._task, total=images * lams)
