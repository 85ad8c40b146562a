"""The trials of one study as this worker may touch them: each is leased before it is changed."""

from __future__ import annotations

import math

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from lamsearch.study.leases import Leases
from lamsearch.study.proposal import Proposal
from lamsearch.study.records import IMAGES_KEY, PARAMETER, Batch, Evaluation


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
        if PARAMETER not in self._database.get_trial(trial_id).params:
            self._database.set_trial_param(trial_id, PARAMETER, proposal.lam, self._range)
        if taken.images is None and proposal.images is not None:
            self._database.set_trial_user_attr(trial_id, IMAGES_KEY, proposal.images)
        return self._read(trial_id)

    def abandon(self, taken: Evaluation) -> None:
        """Fail a leased trial that has no λ and will get none."""
        self._study.tell(taken.number, state=TrialState.FAIL)
        self._leases.release(self._id(taken))

    def record(self, evaluation: Evaluation, batch: Batch) -> bool:
        """Commit a batch; False if another worker has taken the evaluation over."""
        trial_id = self._id(evaluation)
        if not self._leases.acquire(trial_id):
            return False
        self._database.set_trial_user_attr(trial_id, batch.key, batch.to_json())
        return True

    def finish(self, evaluation: Evaluation) -> Evaluation:
        """Complete a trial with the mean of its scores; it fails where all are missing."""
        trial_id = self._id(evaluation)
        scores = self._read(trial_id).scores.values()
        present = [score for score in scores if not math.isnan(score)]
        if present:
            self._study.tell(evaluation.number, sum(present) / len(present))
        else:
            self._study.tell(evaluation.number, state=TrialState.FAIL)
        self._leases.release(trial_id)
        return self._read(trial_id)

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

    def _read(self, trial_id: int) -> Evaluation:
        return Evaluation.from_trial(self._database.get_trial(trial_id))

    def _id(self, evaluation: Evaluation) -> int:
        study_id = self._study._study_id
        return self._database.get_trial_id_from_study_id_trial_number(study_id, evaluation.number)
