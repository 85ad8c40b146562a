"""What a dashboard shows of one study beside what is stored: all of it computed, none written."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.config.expressions import Constraint
from lamsearch.dashboard.strips import Strips
from lamsearch.errors import LamsearchError
from lamsearch.report.summarize import summarize
from lamsearch.report.table import answer_text
from lamsearch.study.batches import is_batch_key
from lamsearch.study.database import Study
from lamsearch.study.gallery import SIZE, Gallery
from lamsearch.study.manifest import KEPT_FACT
from lamsearch.study.records import Evaluation
from lamsearch.tracking.values import evaluation_values

_METRICS, _CONSTRAINTS = "study:metric_names", "constraints"
_NOTE_VERSION, _NOTE = "dashboard:note_ver", "dashboard:note_str:0"


class ShownStudy:
    """One study of lamsearch.

    Args:
        name: Its name.
        database: The storage, open for reading.
        url: Its URL.
        strips: Holds the strips of images.

    Raises:
        LamsearchError: If it is no study of lamsearch.
    """

    def __init__(self, name: str, database: BaseStorage, url: str, strips: Strips) -> None:
        self._study = Study(optuna.load_study(study_name=name, storage=database), database, url)
        self._manifest = self._study.manifest
        kept = self._study.recall(KEPT_FACT)
        self._gallery = Gallery(name, url, SIZE if kept is None else len(kept))
        self._strips = strips
        self._constraint: Constraint | None = SearchConfig.from_manifest(self._manifest).constraint
        self._note: tuple[int, str] = (-1, "")
        self._ended: dict[tuple[int, float], FrozenTrial] = {}

    def system_attrs(self) -> dict[str, Any]:
        """Return the metric's name and the note with the answer, as a dashboard looks for them."""
        reward = self._manifest.get("reward")
        names = {} if reward is None else {_METRICS: [reward]}
        finished = len(self._study.history().finished)
        if self._note[0] != finished:
            self._note = finished, self._answer()
        return {**names, _NOTE_VERSION: 1, _NOTE: self._note[1]}

    def trials(self, stored: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Return trials with figures instead of scores, and with constraint and strip."""
        given = list(stored)
        reference = self._reference_mean(given)
        return [self._trial(trial, reference) for trial in given]

    def _trial(self, trial: FrozenTrial, reference: float) -> FrozenTrial:
        key = (trial._trial_id, -math.inf if math.isnan(reference) else reference)
        if key in self._ended:
            return self._ended[key]
        evaluation = Evaluation.from_trial(trial)
        shown = copy.copy(trial)
        figures = evaluation_values(evaluation, self._manifest.get("beta"))
        own = {k: v for k, v in trial.user_attrs.items() if not is_batch_key(k)}
        shown._user_attrs = {**own, **{k: figures[k] for k in figures.keys() - {"lam", "value"}}}
        files = [] if math.isnan(evaluation.lam) else self._gallery.at(evaluation.lam)
        shown._system_attrs = {
            **trial._system_attrs,
            **self._violation(evaluation, reference),
            **self._strips.announce(trial._trial_id, evaluation.lam, files),
        }
        if trial.state.is_finished():
            self._ended[key] = shown
        return shown

    def _violation(self, evaluation: Evaluation, reference: float) -> dict[str, list[float]]:
        """Return by how much the constraint is violated, at most 0 where it holds; Optuna's form.

        It compares means as they are, without their uncertainty, which the answer accounts for.
        """
        guard = self._constraint
        if guard is None or evaluation.state != TrialState.COMPLETE:
            return {}
        factor, bound = guard.inequality(reference)
        needed = bound if guard.level is not None else factor * reference + bound
        violation = needed - _mean(evaluation.tracked.get(guard.name, {}))
        return {} if math.isnan(violation) else {_CONSTRAINTS: [violation]}

    def _reference_mean(self, trials: Iterable[FrozenTrial]) -> float:
        """Return the guarded reward's mean at λ = 0, NaN where it is not known."""
        if self._constraint is None:
            return math.nan
        evaluations = map(Evaluation.from_trial, trials)
        means = [_mean(e.tracked.get(self._constraint.name, {})) for e in evaluations if e.lam == 0]
        return next((mean for mean in means if not math.isnan(mean)), math.nan)

    def _answer(self) -> str:
        try:
            return answer_text(summarize(self._study))
        except LamsearchError as error:
            return str(error)


def _mean(scores: Mapping[int, float]) -> float:
    present = [score for score in scores.values() if not math.isnan(score)]
    return statistics.fmean(present) if present else math.nan
