"""The study database: trials, per-image scores and the manifest. The only state of a search.

A trial is one evaluation: its parameter `lam`, the images it generates, its value R̂ (the mean
score), and one user attribute per scored batch. A trial that is RUNNING without a living owner is
continued, not repeated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from lamsearch.errors import (
    EvaluationError,
    NoScoreError,
    StudyError,
    TakenOverError,
)
from lamsearch.study.batches import Batch
from lamsearch.study.faults import storage_faults
from lamsearch.study.history import History
from lamsearch.study.journal import save_aside
from lamsearch.study.leases import Leases
from lamsearch.study.manifest import bind_manifest
from lamsearch.study.proposal import Assignment, Budget, Policy, Proposal
from lamsearch.study.records import Evaluation
from lamsearch.study.storage import open_storage
from lamsearch.study.stored import StoredStudy, guarded
from lamsearch.study.trials import Trials


class Study(StoredStudy):
    """One search's database, opened for reading or for work; see `open` and `create`."""

    def __init__(
        self,
        study: optuna.Study,
        database: BaseStorage,
        url: str | None,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(study, database, url)
        self._trials, self._lock = Trials(study, database, bounds), Leases(database, "study")

    @classmethod
    def create(
        cls, name: str, storage: str | None, bounds: tuple[float, float] = (0.0, 1.0)
    ) -> Study:
        """Open a study to work on, a new one where there is none.

        Args:
            name: Name of the study.
            storage: SQLAlchemy URL of the database, or None for one in memory.
            bounds: λ's range (low, high).

        Raises:
            StudyError: If the storage cannot be opened, or the study is not one of lamsearch.
        """
        return cls._open_or_create(open_storage(storage), name, storage, bounds)

    def beside(self, name: str, bounds: tuple[float, float]) -> Study:
        """Open another study of the same database to work on, a new one where there is none."""
        return self._open_or_create(self._database, name, self.storage, bounds)

    @guarded
    def bind(self, manifest: Mapping[str, Any]) -> None:
        """Store the manifest of a new study; hold an existing study to its own.

        Raises:
            StudyError: If the study has another manifest; the message shows the differences.
        """
        with self._lock.exclusive(self._study._study_id):
            bind_manifest(self._study, manifest)

    @guarded
    def remember(self, key: str, fact: Any) -> None:
        """Store a fact about the study, as JSON, which a resume is not held to."""
        self._study.set_user_attr(key, fact)

    @property
    def has_live_workers(self) -> bool:
        """Whether living workers are at some evaluations."""
        return any(map(self._trials.is_leased, self.history().running))

    @guarded
    def next_evaluation(self, policy: Policy, budget: Budget) -> Assignment | None:
        """Return the evaluation to work on: one that a dead worker left, else a new one.

        Serialised by a database lock: a worker stores its λ before the next one reads.

        Args:
            policy: Decides on the next λ and its images.
            budget: What the study may spend; running evaluations count.

        Returns:
            None once the budget is used or in other workers' hands, or nothing is left to do.

        Raises:
            TakenOverError: If this worker was paused for so long that another one proposed.
        """
        with self._lock.exclusive(self._study._study_id):
            history = self.history()
            left = budget.left(history)
            for found in history.running:
                left -= budget.cost(found)
                if left < 0:  # the budget was lowered
                    return None
                if self._trials.take(found):
                    return self._take_over(found, policy, dataclasses.replace(history, left=left))
            history = dataclasses.replace(history, left=left)
            if left < 1:
                return None
            for found in history.waiting:
                if self._trials.take(found):
                    return self._take_over(found, policy, history)
            proposal = policy(history)
            if proposal is None:
                return None
            with self._lock.fenced(self._study._study_id):
                return Assignment(self._trials.start(proposal), history.images_done)

    def record(self, evaluation: Evaluation, batch: Batch) -> None:
        """Commit the scores of one batch at once.

        Raises:
            EvaluationError: If a score is infinite.
            TakenOverError: If another worker has taken the evaluation over.
            StudyError: If the storage fails; the message says where the scores are.
        """
        if not batch.is_finite:
            raise EvaluationError(
                f"an infinite score at lam = {evaluation.lam:g}: give finite scores, NaN = missing"
            )
        try:
            with self._faults():
                self._trials.record(evaluation, batch)
        except TakenOverError:
            raise
        except StudyError as error:
            aside = save_aside(self._study, self._file.path, evaluation=evaluation, batch=batch)
            raise StudyError(f"{error}; {aside}") from error

    @guarded
    def finish(self, evaluation: Evaluation) -> Evaluation:
        """Complete an evaluation with the mean of its scores.

        Where most are missing it is begun anew, once, and fails the next time.

        Returns:
            The evaluation; still running if it is to be tried again.

        Raises:
            NoScoreError: If it failed, and nothing else was scored at this λ.
            TakenOverError: If another worker has taken the evaluation over.
        """
        ended = self._trials.finish(evaluation)
        failed = ended.state == TrialState.FAIL
        if failed and ended.lam not in {done.lam for done in self.history().finished}:
            raise NoScoreError(
                f"at lam = {ended.lam:g}: {ended.reason} (NaN, or images not finite, constant, or "
                "blocked by a safety checker): check the dtype and the VAE, or leave this λ out of "
                "the bounds",
                ended.lam,
            )
        return ended

    @guarded
    def fail(self, evaluation: Evaluation, reason: str) -> None:
        """End an evaluation that cannot be scored, with the reason.

        Raises:
            TakenOverError: If another worker has taken the evaluation over.
        """
        self._trials.fail(evaluation, reason)

    @guarded
    def release(self, evaluation: Evaluation) -> None:
        """Leave an unfinished evaluation for whoever comes next."""
        self._trials.release(evaluation)

    @classmethod
    def _open_or_create(
        cls, database: BaseStorage, name: str, url: str | None, bounds: tuple[float, float]
    ) -> Study:
        with storage_faults(url):
            study = optuna.create_study(
                study_name=name, storage=database, direction="maximize", load_if_exists=True
            )
            return cls(study, database, url, bounds)

    def _take_over(self, taken: Evaluation, policy: Policy, history: History) -> Assignment | None:
        """Return a trial of a dead worker or of the queue, with λ and images filled in."""
        history = dataclasses.replace(history, number=taken.number)
        try:
            proposal: Proposal | None = Proposal(taken.lam, taken.images)
            if math.isnan(taken.lam):
                proposal = policy(history)
            elif taken.images is None:
                proposal = Proposal(taken.lam, policy.images_at(taken.lam, history))
            if proposal is None:
                self._trials.fail(taken, "no λ was proposed for it")
                return None
            evaluation = self._trials.fill_in(taken, proposal)
        except BaseException:
            self._trials.release(taken)
            raise
        return Assignment(evaluation, history.images_done + len(evaluation.scores))
