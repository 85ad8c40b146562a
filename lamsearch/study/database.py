"""The study database: trials, per-image scores and the manifest. The only state of a search.

A trial is one evaluation: its parameter `lam`, its value R̂ = mean score, and one user attribute
per scored batch. A trial that is RUNNING without a living owner is continued, not repeated.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lamsearch.bayesopt.image_allocation import Step
from lamsearch.errors import EvaluationError, StudyError
from lamsearch.study.leases import Leases
from lamsearch.study.records import IMAGE_RANGE_KEY, PARAMETER, Batch, Evaluation, settled
from lamsearch.study.storage import open_storage, shown

_MANIFEST_KEY = "manifest"

Allocate: TypeAlias = Callable[[Sequence[Evaluation], int], Step | None]
"""All evaluations, and the images left in the budget → what to do next; None = nothing."""

ENDLESS = sys.maxsize
"""A budget of images that never ends: `Allocate` does."""


class Study:
    """One search's database, opened for reading or for work.

    Args:
        name: Of the study.
        storage: SQLAlchemy URL, or None for one in memory.
        sampler: Proposes λ; None opens an existing study to read, and creates no database.
        bounds: λ's range (low, high).

    Raises:
        StudyError: If the storage cannot be opened, or the study is absent and there is no sampler.
    """

    def __init__(
        self,
        name: str,
        storage: str | None,
        *,
        sampler: BaseSampler | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.name, self.storage, self._bounds = name, storage, bounds
        self._database = open_storage(storage, create=sampler is not None)
        try:
            if sampler is None:
                self._study = optuna.load_study(study_name=name, storage=self._database)
            else:
                self._study = optuna.create_study(
                    study_name=name,
                    storage=self._database,
                    sampler=sampler,
                    direction="maximize",
                    load_if_exists=True,
                )
        except KeyError:
            known = optuna.get_all_study_names(self._database)
            raise StudyError(
                f"no study '{name}' in {shown(storage)}: it has {', '.join(known) or 'none'}"
            ) from None
        if self._study.directions != [StudyDirection.MAXIMIZE]:
            raise StudyError(
                f"study '{name}' in {shown(storage)} does not maximise one value: expected scores "
                "of which more is better, in a study of lamsearch"
            )
        self._leases, self._turns = Leases(self._database), Leases(self._database, "study")

    @property
    def manifest(self) -> dict[str, Any]:
        """What the study's scores depend on, as `bind` stored it."""
        return dict(self._study.user_attrs.get(_MANIFEST_KEY, {}))

    def bind(self, manifest: Mapping[str, Any]) -> None:
        """Store the manifest of a new study; hold an old one to its own.

        Raises:
            StudyError: If the study has another manifest; the message shows the differences.
        """
        # Compared as JSON gives it back: tuples become lists, keys strings.
        given = json.loads(json.dumps(manifest))
        stored = self.manifest
        if not stored:
            self._study.set_user_attr(_MANIFEST_KEY, given)
        elif stored != given:
            differences = [
                f"{key} was {stored.get(key)!r}, is {given.get(key)!r}"
                for key in sorted({*stored, *given})
                if stored.get(key) != given.get(key)
            ]
            raise StudyError(
                f"study '{self.name}' was started with other settings ({'; '.join(differences)}): "
                "go on with those, or name a new study with --study"
            )

    def evaluations(self) -> list[Evaluation]:
        """Return the finished evaluations, ordered by number, which have a score and a λ in range.

        Raises:
            StudyError: If it is another study than one of λ.
        """
        trials = self._trials(TrialState.COMPLETE)
        for trial in trials:
            if PARAMETER not in trial.params:
                given = ", ".join(trial.params) or "no parameter"
                raise StudyError(
                    f"study '{self.name}' has {given} in trial {trial.number}, expected "
                    f"'{PARAMETER}': it is no search of λ"
                )
        low, high = self._range(trials)
        evaluations = [Evaluation.of(trial) for trial in trials]
        return [each for each in evaluations if each.scores and low <= each.lam <= high]

    @property
    def bounds(self) -> tuple[float, float]:
        """λ's range: the last that a finished trial was asked for, which may not be of ours."""
        return self._range(self._trials(TrialState.COMPLETE))

    @property
    def busy(self) -> bool:
        """Whether evaluations are under way in living workers' hands."""
        return any(self._leases.held(t._trial_id) for t in self._trials(TrialState.RUNNING))

    @property
    def unfinished(self) -> int:
        """How many evaluations are under way, or were interrupted."""
        return len(self._trials(TrialState.RUNNING))

    def next_evaluation(self, budget: int, allocate: Allocate | None = None) -> Evaluation | None:
        """Return the evaluation to work on: one left by a dead worker, else a new one.

        Workers take turns: each counts what there is, and writes its λ, before the next one does.

        Args:
            budget: Evaluations, or images where there is `allocate`.
            allocate: Decides on the next λ and its images; by default the sampler on λ, and the
                plan on the images.

        Returns:
            None once the budget is used or in other workers' hands, or nothing is left to do.
        """
        with self._turns.turn(self._study._study_id):
            # Read once: a trial that another worker finishes meanwhile must not slip through.
            trials = self._trials()
            evaluations = [Evaluation.of(trial) for trial in trials]
            cost = _one if allocate is None else _images
            left = budget - sum(map(cost, settled(evaluations)))
            for trial, evaluation in zip(trials, evaluations, strict=True):
                if trial.state != TrialState.RUNNING:
                    continue
                left -= cost(evaluation)
                if left < 0:  # the budget was lowered
                    return None
                if self._claim(trial._trial_id):
                    return self._with_lam(Trial(self._study, trial._trial_id))
            if left < 1:
                return None
            # A process that died before it took what it had enqueued leaves that to the next one.
            if allocate is not None and all(t.state != TrialState.WAITING for t in trials):
                step = allocate(evaluations, left)
                if step is None:
                    return None
                images = {IMAGE_RANGE_KEY: [step.start, step.stop]}
                self._study.enqueue_trial({PARAMETER: step.lam}, user_attrs=images)
            new = self._study.ask()
            self._leases.claim(new._trial_id)
            return self._with_lam(new)

    def _claim(self, trial_id: int) -> bool:
        """Take a running trial, unless somebody has it or has just finished it."""
        if not self._leases.claim(trial_id):
            return False
        if self._database.get_trial(trial_id).state == TrialState.RUNNING:
            return True
        self._leases.release(trial_id)
        return False

    def record(self, evaluation: Evaluation, batch: Batch) -> None:
        """Commit the scores of one batch at once.

        Raises:
            EvaluationError: If a score is infinite.
            StudyError: If another worker has taken the evaluation over.
        """
        if not batch.finite:
            raise EvaluationError(
                f"an infinite score at lam = {evaluation.lam:g}: give finite scores, NaN = missing"
            )
        trial_id = self._trial_id(evaluation)
        if not self._leases.acquire(trial_id):
            raise StudyError(
                f"evaluation {evaluation.number} of study '{self.name}' was taken over by another "
                "worker: start again to go on with the others"
            )
        self._database.set_trial_user_attr(trial_id, batch.key, batch.to_json())

    def finish(self, evaluation: Evaluation) -> Evaluation:
        """Complete an evaluation with the mean of its scores; it fails where all are missing.

        Raises:
            EvaluationError: If it failed, and nothing else was scored at this λ.
        """
        trial_id = self._trial_id(evaluation)
        scores = Evaluation.of(self._database.get_trial(trial_id)).scores.values()
        present = [score for score in scores if not math.isnan(score)]
        if present:
            self._study.tell(evaluation.number, sum(present) / len(present))
        else:
            self._study.tell(evaluation.number, state=TrialState.FAIL)
        self._leases.release(trial_id)
        if not present and evaluation.lam not in {done.lam for done in self.evaluations()}:
            raise EvaluationError(
                f"all {len(scores)} scores at lam = {evaluation.lam:g} are missing (NaN, or images "
                "not finite, constant, or blocked by a safety checker): check the dtype and the "
                "VAE, or leave this λ out of the bounds"
            )
        return Evaluation.of(self._database.get_trial(trial_id))

    def release(self, evaluation: Evaluation) -> None:
        """Leave an unfinished evaluation for whoever comes next."""
        self._leases.release(self._trial_id(evaluation))

    def _with_lam(self, trial: Trial) -> Evaluation:
        try:
            trial.suggest_float(PARAMETER, *self._bounds)
            return Evaluation.of(self._database.get_trial(trial._trial_id))
        except BaseException:
            self._leases.release(trial._trial_id)
            raise

    def _range(self, complete: Sequence[FrozenTrial]) -> tuple[float, float]:
        for trial in reversed(complete):
            range_ = trial.distributions.get(PARAMETER)
            if isinstance(range_, (FloatDistribution, IntDistribution)):
                return float(range_.low), float(range_.high)
        return self._bounds

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _trial_id(self, evaluation: Evaluation) -> int:
        study_id = self._study._study_id
        return self._database.get_trial_id_from_study_id_trial_number(study_id, evaluation.number)


def _one(evaluation: Evaluation) -> int:
    return 1


def _images(evaluation: Evaluation) -> int:
    assert evaluation.image_range is not None  # where the budget counts images, each has its own
    start, stop = evaluation.image_range
    return stop - start
