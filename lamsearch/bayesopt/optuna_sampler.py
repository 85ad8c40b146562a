"""The Optuna sampler: ordered history → next λ, a pure function with no state of its own."""

from __future__ import annotations

import dataclasses
import logging
import threading
import zlib
from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeGuard

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lamsearch.bayesopt.constraint import Constraint
from lamsearch.bayesopt.policy import History, propose
from lamsearch.bayesopt.strategy import Strategy
from lamsearch.errors import SettingsError
from lamsearch.study.records import Evaluation, usable_value

_PROPOSED = "lamsearch:proposed:"
_ONE_AT_A_TIME = threading.Lock()
"""Over proposals in this process: `study.optimize(n_jobs=2)` asks from several threads."""

_logger = logging.getLogger(__name__)


class LamSampler(BaseSampler):
    """Gaussian-process search over one float parameter, for λ or anything like it.

    A proposal depends on the seed, the trial's number, and the history: the finished trials in the
    order of their numbers, and the parameters of those under way. A study that is killed and
    resumed goes on exactly as it would have. Trials that are there already, enqueued or evaluated
    by whatever other means, count: the initial design, both ends of the range and two places
    between, is cut short by as many, and leaves out what is known.

    "auto" evaluates where it learns most about the best λ, which is seldom the best λ itself:
    answer by `lamsearch.bayesopt.recommendation.recommend`, or choose "ei" to read
    `study.best_params`.

    A trial's first float without `log` and `step` is searched. This is no sampler for other
    parameters: it leaves them to another one, with a warning in the log.

    Args:
        seed: Of the initial design, and of the random sampler for other parameters.
        acquisition: "auto", "ei", "ucb" or "kg", or a whole `lamsearch.bayesopt.strategy.Strategy`.
        independent_sampler: For other parameters; by default they are drawn at random, by the
            seed, the trial's number and the parameter's name.
        warn_independent_sampling: Whether to log a warning for each of these.
        constraint: On another reward that is recorded with the trials, as lamsearch's own studies
            do; λ is sought where it is probable.

    Raises:
        SettingsError: If the acquisition is unknown, or the seed is out of its range.
    """

    def __init__(
        self,
        seed: int = 0,
        acquisition: str | Strategy = "auto",
        *,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
        constraint: Constraint | None = None,
    ) -> None:
        self._seed = checked_seed(seed)
        self._strategy = Strategy(acquisition) if isinstance(acquisition, str) else acquisition
        self._independent_sampler = independent_sampler
        self._warn_independent_sampling = warn_independent_sampling
        self._constraint = constraint

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no relative space: the one parameter is proposed when it is asked for."""
        _require_one_objective(study)
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a value for each parameter of the space, as if it were asked for alone."""
        return {
            name: self.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
        }

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the next value of the parameter.

        Raises:
            ValueError: If the study has several objectives.
        """
        _require_one_objective(study)
        others = [
            name for name, d in trial.distributions.items() if _is_plain_float(d) and not d.single()
        ]
        if _is_plain_float(param_distribution) and not others:
            return self._search(study, trial, param_name, param_distribution)
        reason = f"it searches one parameter, here {others[0]!r}" if others else "no plain float"
        return self._leave(study, trial, param_name, param_distribution, reason=reason)

    def reseed_rng(self) -> None:
        """Reseed the independent sampler, if one was given: this sampler draws nothing."""
        if self._independent_sampler is not None:
            self._independent_sampler.reseed_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the independent sampler, if one was given."""
        if self._independent_sampler is not None:
            self._independent_sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Tell the independent sampler, if one was given."""
        if self._independent_sampler is not None:
            self._independent_sampler.after_trial(study, trial, state, values)

    def _search(
        self, study: optuna.Study, trial: FrozenTrial, name: str, range_: FloatDistribution
    ) -> float:
        with _ONE_AT_A_TIME:
            bounds = (range_.low, range_.high)
            start = History(bounds, constraint=self._constraint, strategy=self._strategy)
            history = read_history(start, study, name, number=trial.number)
            lam = propose(history, seed=self._seed)
            # Optuna stores the parameter only when it has it: others may look before.
            study._storage.set_trial_system_attr(trial._trial_id, _PROPOSED + name, lam)
        return lam

    def _leave(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        name: str,
        distribution: BaseDistribution,
        *,
        reason: str,
    ) -> Any:
        seed = zlib.crc32(repr((self._seed, trial.number, name)).encode())
        sampler = self._independent_sampler or RandomSampler(seed)
        if self._warn_independent_sampling:
            _logger.warning(
                "Parameter %r of trial %d is left to %s, and not searched by %s: %s. "
                "warn_independent_sampling=False turns this warning off.",
                *(name, trial.number, sampler, self, reason),
            )
        return sampler.sample_independent(study, trial, name, distribution)


def checked_seed(seed: Any) -> int:
    """Return the seed; everything random in a search depends on it.

    Raises:
        SettingsError: If it is no whole number from 0 to 2⁶³ − 1.
    """
    if not (isinstance(seed, Integral) and 0 <= int(seed) < 2**63):
        raise SettingsError(f"seed {seed} given, expected 0 to 2⁶³ − 1")
    return int(seed)


def read_history(start: History, study: optuna.Study, name: str, *, number: int) -> History:
    """Return `start` with what the proposal for parameter `name` of trial `number` depends on.

    | trials | are |
    |---|---|
    | COMPLETE with a finite value | evaluated |
    | RUNNING or WAITING, of a lower number | pending |
    | RUNNING or WAITING, of a higher number | taken, where their λ is known |
    | FAIL, PRUNED, COMPLETE with an infinite value | failed: the same λ would end as before |
    | any, at a λ outside the bounds | no part of the search |
    """
    low, high = start.bounds
    finished: list[Evaluation] = []
    pending: list[float | None] = []
    taken: list[float] = []
    failed: list[float] = []
    sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
    for trial in study.get_trials(deepcopy=False):
        lam = _lam(trial, name)
        outside = lam is not None and not low <= lam <= high
        if trial.number == number or outside:
            continue
        if not trial.state.is_finished() and trial.number < number:
            pending.append(lam)
        elif lam is not None and usable_value(trial) is not None:
            finished.append(dataclasses.replace(Evaluation.of(trial), lam=lam))
        elif lam is not None:
            (failed if trial.state.is_finished() else taken).append(lam)
    history = History.of(finished, start)
    scores = [sign * row for row in history.scores]
    return dataclasses.replace(history, scores=scores, pending=pending, taken=taken, failed=failed)


def _lam(trial: FrozenTrial, name: str) -> float | None:
    """λ as far as it is known: set, announced, or fixed by `enqueue_trial`."""
    attributes = trial.system_attrs
    fixed = attributes.get("fixed_params", {}).get(name)
    lam = trial.params.get(name, attributes.get(_PROPOSED + name, fixed))
    return lam if isinstance(lam, (int, float)) else None


def _is_plain_float(distribution: BaseDistribution) -> TypeGuard[FloatDistribution]:
    return isinstance(distribution, FloatDistribution) and not (
        distribution.log or distribution.step
    )


def _require_one_objective(study: optuna.Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(
            f"LamSampler searches one objective, but study '{study.study_name}' has "
            f"{len(study.directions)} directions: create it with direction=, not directions="
        )
