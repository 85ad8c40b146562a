"""The trials of one study as this worker may touch them: each is leased before it is changed.

Whatever is written of a trial is written under its lease, in one transaction with a look at it.
"""

from __future__ import annotations

import math

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from lamsearch.study.batches import Batch
from lamsearch.study.leases import LeaseLostError, Leases
from lamsearch.study.proposal import Proposal
from lamsearch.study.records import (
    ATTEMPT_KEY,
    COUNT_KEY,
    IMAGES_KEY,
    PARAMETER,
    REASON_KEY,
    Evaluation,
)

ATTEMPTS = 2
"""How often an evaluation is tried before it fails for its missing scores."""


class Trials:
    """Creates, takes over and completes trials.

    Args:
        study: Optuna's study.
        database: Its storage.
        bounds: λ's range (low, high) of new trials.
    """

    def __init__(
        self, study: optuna.Study, database: BaseStorage, bounds: tuple[float, float]
    ) -> None:
        self._study, self._database, self._range = study, database, FloatDistribution(*bounds)
        self._leases = Leases(database)

    def start(self, proposal: Proposal) -> Evaluation:
        """Store a new trial, whole, and lease it."""
        images = {} if proposal.images is None else {IMAGES_KEY: proposal.images}
        trial = create_trial(
            state=TrialState.RUNNING,
            params={PARAMETER: proposal.lam},
            distributions={PARAMETER: self._range},
            user_attrs=images,
        )
        trial_id = self._database.create_new_trial(self._study._study_id, template_trial=trial)
        self._leases.claim(trial_id)
        return self._read(trial_id)

    def take(self, found: Evaluation) -> bool:
        """Lease a trial that a dead worker left, or that somebody enqueued.

        Returns:
            False if a living worker has it, or has just finished it.
        """
        trial_id = self._id(found)
        if not self._leases.claim(trial_id):
            return False
        if found.state == TrialState.WAITING:
            ours = self._begin(trial_id)
        else:
            ours = self._database.get_trial(trial_id).state == TrialState.RUNNING
        if not ours:
            self._leases.release(trial_id)
        return ours

    def fill_in(self, taken: Evaluation, proposal: Proposal) -> Evaluation:
        """Store the λ and the images of a leased trial where its creator left them out."""
        trial_id = self._id(taken)
        with self._leases.fenced(trial_id):
            if PARAMETER not in self._database.get_trial(trial_id).params:
                self._database.set_trial_param(trial_id, PARAMETER, proposal.lam, self._range)
            if taken.images is None and proposal.images is not None:
                self._database.set_trial_user_attr(trial_id, IMAGES_KEY, proposal.images)
        return self._read(trial_id)

    def record(self, evaluation: Evaluation, batch: Batch) -> None:
        """Commit a batch.

        Raises:
            LeaseLostError: If another worker has taken the evaluation over.
        """
        trial_id, key = self._id(evaluation), batch.key(evaluation.attempt)
        with self._leases.fenced(trial_id):
            try:
                self._database.set_trial_user_attr(trial_id, key, batch.to_json())
            except UpdateFinishedTrialError:
                raise LeaseLostError from None

    def finish(self, evaluation: Evaluation) -> Evaluation:
        """End a trial with the mean of its scores, or begin it anew where most are missing.

        Returns:
            The trial: complete; failed, where most are missing again; or still running, to be
            tried again from its first image.

        Raises:
            LeaseLostError: If another worker has taken the evaluation over.
        """
        trial_id = self._id(evaluation)
        found = self._read(trial_id)
        scores = found.scores.values()
        present = [score for score in scores if not math.isnan(score)]
        missing = len(scores) - len(present)
        with self._leases.fenced(trial_id):
            if missing <= len(present):
                self._database.set_trial_user_attr(trial_id, COUNT_KEY, len(scores))
                self._end(trial_id, TrialState.COMPLETE, sum(present) / len(present))
            elif found.attempt + 1 < ATTEMPTS:
                self._database.set_trial_user_attr(trial_id, ATTEMPT_KEY, found.attempt + 1)
                return self._read(trial_id)
            else:
                reason = f"{missing} of {len(scores)} scores are missing, {ATTEMPTS} times"
                self._database.set_trial_user_attr(trial_id, REASON_KEY, reason)
                self._end(trial_id, TrialState.FAIL)
        self._leases.release(trial_id)
        return self._read(trial_id)

    def fail(self, evaluation: Evaluation, reason: str) -> None:
        """End a leased trial without a value.

        Raises:
            LeaseLostError: If another worker has taken the evaluation over.
        """
        trial_id = self._id(evaluation)
        with self._leases.fenced(trial_id):
            self._database.set_trial_user_attr(trial_id, REASON_KEY, reason)
            self._end(trial_id, TrialState.FAIL)
        self._leases.release(trial_id)

    def release(self, evaluation: Evaluation) -> None:
        """Leave an unfinished trial for whoever comes next."""
        self._leases.release(self._id(evaluation))

    def is_leased(self, evaluation: Evaluation) -> bool:
        """Whether a living worker is at a trial."""
        return self._leases.is_leased(self._id(evaluation))

    def _begin(self, trial_id: int) -> bool:
        try:
            return self._database.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:  # another program was faster
            return False

    def _end(self, trial_id: int, state: TrialState, value: float | None = None) -> None:
        values = None if value is None else [value]
        try:
            self._database.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            raise LeaseLostError from None

    def _read(self, trial_id: int) -> Evaluation:
        return Evaluation.from_trial(self._database.get_trial(trial_id))

    def _id(self, evaluation: Evaluation) -> int:
        study_id = self._study._study_id
        return self._database.get_trial_id_from_study_id_trial_number(study_id, evaluation.number)
