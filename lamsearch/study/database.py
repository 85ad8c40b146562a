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
from optuna.study import StudyDirection
from optuna.trial import TrialState

from lamsearch.errors import EvaluationError, NoScoreError, StudyError
from lamsearch.study.history import History
from lamsearch.study.leases import Leases
from lamsearch.study.manifest import AGREEMENT_FACT, bind_manifest, read_manifest
from lamsearch.study.proposal import Assignment, Budget, Policy, Proposal
from lamsearch.study.records import PARAMETER, Batch, Evaluation, is_number
from lamsearch.study.storage import open_storage, redacted_url
from lamsearch.study.trials import Trials


class Study:
    """One search's database, opened for reading or for work; see `open` and `create`."""

    def __init__(
        self,
        study: optuna.Study,
        database: BaseStorage,
        url: str | None,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.name, self.storage = study.study_name, url
        self._study, self._database = study, database
        if study.directions != [StudyDirection.MAXIMIZE]:
            raise StudyError(
                f"study '{self.name}' in {redacted_url(url)} does not maximise one value: expected "
                "scores of which more is better, in a study of lamsearch"
            )
        self._trials, self._lock = Trials(study, database, bounds), Leases(database, "study")

    @staticmethod
    def names(storage: str | None) -> list[str]:
        """Return the names of all studies of an existing storage.

        Raises:
            StudyError: If the storage does not exist or cannot be opened.
        """
        return sorted(optuna.get_all_study_names(open_storage(storage, create=False)))

    @classmethod
    def open(cls, name: str, storage: str | None) -> Study:
        """Open an existing study to read it; nothing is created.

        Raises:
            StudyError: If the storage or the study does not exist, or is not one of lamsearch.
        """
        database = open_storage(storage, create=False)
        try:
            study = optuna.load_study(study_name=name, storage=database)
        except KeyError:
            known = ", ".join(optuna.get_all_study_names(database)) or "none"
            where = redacted_url(storage)
            raise StudyError(f"no study '{name}' in {where}: it has {known}") from None
        return cls(study, database, storage)

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

    def find_beside(self, name: str) -> Study | None:
        """Return another study of the same database to read, None where there is none."""
        if name not in optuna.get_all_study_names(self._database):
            return None
        study = optuna.load_study(study_name=name, storage=self._database)
        return Study(study, self._database, self.storage)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the study's scores depend on, as `bind` stored it."""
        return read_manifest(self._study)

    def bind(self, manifest: Mapping[str, Any]) -> None:
        """Store the manifest of a new study; hold an existing study to its own.

        Raises:
            StudyError: If the study has another manifest; the message shows the differences.
        """
        bind_manifest(self._study, manifest)

    def remember(self, key: str, fact: Any) -> None:
        """Store a fact about the study, as JSON, which a resume is not held to."""
        self._study.set_user_attr(key, fact)

    def recall(self, key: str) -> Any:
        """Return a stored fact, None where there is none."""
        return self._study.user_attrs.get(key)

    @property
    def is_agreement(self) -> bool:
        """Whether the study heads the agreement of a family of anchors."""
        return self.recall(AGREEMENT_FACT) is not None

    def facts_of_all(self) -> dict[str, Mapping[str, Any]]:
        """Return the facts of every study in the database, by name of the study."""
        return {each.study_name: each.user_attrs for each in self._database.get_all_studies()}

    def history(self) -> History:
        """Read all trials, once.

        Raises:
            StudyError: If it is another study than one of λ.
        """
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.COMPLETE and not is_number(trial.params.get(PARAMETER)):
                given = ", ".join(trial.params) or "no parameter"
                raise StudyError(
                    f"study '{self.name}' has {given} in trial {trial.number}, expected a number "
                    f"'{PARAMETER}': it is not a search of λ"
                )
        return History(tuple(map(Evaluation.from_trial, trials)), number=len(trials))

    @property
    def has_live_workers(self) -> bool:
        """Whether living workers are at some evaluations."""
        return any(map(self._trials.is_leased, self.history().running))

    def next_evaluation(self, policy: Policy, budget: Budget) -> Assignment | None:
        """Return the evaluation to work on: one that a dead worker left, else a new one.

        Serialised by a database lock: a worker stores its λ before the next one reads.

        Args:
            policy: Decides on the next λ and its images.
            budget: What the study may spend; running evaluations count.

        Returns:
            None once the budget is used or in other workers' hands, or nothing is left to do.
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
            return Assignment(self._trials.start(proposal), history.images_done)

    def record(self, evaluation: Evaluation, batch: Batch) -> None:
        """Commit the scores of one batch at once.

        Raises:
            EvaluationError: If a score is infinite.
            StudyError: If another worker has taken the evaluation over.
        """
        if not batch.is_finite:
            raise EvaluationError(
                f"an infinite score at lam = {evaluation.lam:g}: give finite scores, NaN = missing"
            )
        if not self._trials.record(evaluation, batch):
            raise StudyError(
                f"evaluation {evaluation.number} of study '{self.name}' was taken over by another "
                "worker: start again to continue with the others"
            )

    def finish(self, evaluation: Evaluation) -> Evaluation:
        """Complete an evaluation with the mean of its scores; it fails where all are missing.

        Raises:
            NoScoreError: If it failed, and nothing else was scored at this λ.
        """
        ended = self._trials.finish(evaluation)
        failed = ended.state == TrialState.FAIL
        if failed and ended.lam not in {done.lam for done in self.history().finished}:
            raise NoScoreError(
                f"all {len(ended.scores)} scores at lam = {ended.lam:g} are missing (NaN, or "
                "images not finite, constant, or blocked by a safety checker): check the dtype "
                "and the VAE, or leave this λ out of the bounds",
                ended.lam,
            )
        return ended

    def release(self, evaluation: Evaluation) -> None:
        """Leave an unfinished evaluation for whoever comes next."""
        self._trials.release(evaluation)

    @classmethod
    def _open_or_create(
        cls, database: BaseStorage, name: str, url: str | None, bounds: tuple[float, float]
    ) -> Study:
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
                self._trials.abandon(taken)
                return None
            evaluation = self._trials.fill_in(taken, proposal)
        except BaseException:
            self._trials.release(taken)
            raise
        return Assignment(evaluation, history.images_done + len(evaluation.scores))
