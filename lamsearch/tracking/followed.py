"""A search's progress, followed by trackers; none of them can stop it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from lamsearch.errors import described
from lamsearch.loop import Progress
from lamsearch.report.strip import Column, draw_strip
from lamsearch.report.summary import Summary
from lamsearch.study.database import Study
from lamsearch.study.records import Evaluation
from lamsearch.study.urls import database_file
from lamsearch.tracking.trackers import Tracker
from lamsearch.tracking.values import answer_values, evaluation_values, study_values

_log = logging.getLogger("lamsearch")

KeptAt = Callable[[float], Sequence[Path | None]]
"""λ → the files of its kept images."""


class Followed(AbstractContextManager["Followed"], Progress):
    """Passes what happens on to a progress, and to trackers.

    A tracker that fails is left out from then on, with one warning. Each run shows the whole
    study: evaluations that ended before it are reported at its start.

    Args:
        progress: What else receives everything.
        names: Names of the trackers.
        study: The study; its trackers' files go beside its database.
        kept_at: Finds the images kept at a λ.
    """

    def __init__(
        self, progress: Progress | None, names: Sequence[str], study: Study, kept_at: KeptAt
    ) -> None:
        self._progress, self._names = progress, names
        self._study, self._kept_at = study, kept_at
        self._trackers: list[Tracker] = []
        self._prefix, self._steps = "", 0

    def __exit__(self, *_: object) -> None:
        self._each(Tracker.finish)

    def bound(self) -> None:
        """Begin to track: the study has its manifest now."""
        if not self._names:
            return
        file = database_file(self._study.storage)
        beside = file.parent if file is not None else Path("lamsearch-studies")
        run = quote(self._study.name, safe=" +")
        for name in self._names:
            try:
                self._trackers.append(Tracker(name, run, beside / name))
            except (Exception, SystemExit) as error:
                _warn(name, error)
        manifest = self._study.manifest
        self._each(lambda tracker: tracker.configure(study_values(manifest)))
        for evaluation in self._study.history().finished:
            self._report(evaluation)

    def started(self, evaluation: Evaluation, done: int) -> None:
        """Pass it on."""
        if self._progress is not None:
            self._progress.started(evaluation, done)

    def scored(self, evaluation: Evaluation, images: int) -> None:
        """Pass it on."""
        if self._progress is not None:
            self._progress.scored(evaluation, images)

    def mixing(self, way: str) -> None:
        """Pass it on."""
        if self._progress is not None:
            self._progress.mixing(way)

    def finished(self, evaluation: Evaluation) -> None:
        """Report the evaluation's figures and its strip of images."""
        if self._progress is not None:
            self._progress.finished(evaluation)
        self._report(evaluation)

    def confirming(self, lams: int, images: int) -> None:
        """Report what follows under names of its own."""
        if self._progress is not None:
            self._progress.confirming(lams, images)
        self._prefix = "confirmation/"

    def answered(self, summary: Summary) -> None:
        """Report the answer."""
        if self._trackers:
            values = answer_values(summary)
            self._each(lambda tracker: tracker.log(values, self._steps))

    def _report(self, evaluation: Evaluation) -> None:
        if not self._trackers:
            return
        step, beta = evaluation.number, self._study.manifest.get("beta")
        values = evaluation_values(evaluation, beta)
        named = {self._prefix + key: each for key, each in values.items()}
        self._each(lambda tracker: tracker.log(named, step))
        if self._prefix:
            return
        self._steps = max(self._steps, step + 1)
        files = [file for file in self._kept_at(evaluation.lam) if file is not None]
        if files:
            pixels = np.asarray(_strip(evaluation.lam, files))
            self._each(lambda tracker: tracker.picture("strip", pixels, step))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        """Let every tracker act; one that fails is left out from now on."""
        for tracker in tuple(self._trackers):
            try:
                act(tracker)
            except (Exception, SystemExit) as error:
                self._trackers.remove(tracker)
                _warn(tracker.name, error)


def _strip(lam: float, files: Sequence[Path]) -> Image.Image:
    pictures = []
    for file in files:
        with Image.open(file) as opened:
            pictures.append(opened.convert("RGB"))
    return draw_strip([Column(f"λ = {lam:.3f}", pictures)])


def _warn(name: str, error: BaseException) -> None:
    _log.warning("warning: track %s failed, and the search goes on: %s", name, described(error))
