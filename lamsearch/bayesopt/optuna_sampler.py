"""The search as an Optuna sampler: an adapter of the policy for plain Optuna scripts."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import zlib
from collections.abc import Sequence
from typing import Any, TypeGuard

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.study.history import History
from lamsearch.study.records import Evaluation

_PROPOSED = "lamsearch:proposed:"
_ONE_AT_A_TIME = threading.Lock()
"""Over proposals in this process: `study.optimize(n_jobs=2)` asks from several threads."""

_logger = logging.getLogger(__name__)


class LamSampler(BaseSampler):
    """Gaussian-process search over one float parameter, for λ or anything like it.

    A proposal depends on the seed, the trial's number and the history: the finished trials in the
    order of their numbers, and the parameters of those under way. A study that is killed and
    resumed proposes exactly what it would have proposed without the interruption. Trials that exist
    already, enqueued or evaluated by whatever means, count: the initial design (both ends of the
    range and two places between) is cut short by as many and leaves out what is known.

    "auto" evaluates where it learns most about the best λ, which is seldom the best λ itself:
    answer with `lamsearch.bayesopt.recommendation.recommend`, or choose "ei" to read
    `study.best_params`.

    The first float of a trial without `log` and `step` is searched. Other parameters are left to
    another sampler, with a warning in the log.

    Args:
        seed: Seed of the initial design, and of the random sampler for other parameters.
        acquisition: "auto", "ei", "ucb" or "kg".
        config: All options of the search instead of these two; the bounds are the parameter's. A
            constraint needs the other reward's scores in the trials, as lamsearch's own studies
            store them.
        independent_sampler: Sampler of other parameters; by default they are drawn at random, from
            the seed, the trial's number and the parameter's name.
        warn_independent_sampling: Whether to log a warning for each of these.

    Raises:
        SettingsError: If the acquisition is unknown, or the seed is out of its range.
    """

    def __init__(
        self,
        seed: int = 0,
        acquisition: str = "auto",
        *,
        config: SearchConfig | None = None,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
    ) -> None:
        self._config = config or SearchConfig.select({"seed": seed, "acquisition": acquisition})
        self._independent_sampler = independent_sampler
        self._warn_independent_sampling = warn_independent_sampling

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
            # Not validated: any range of a plain script will do.
            config = self._config.model_copy(
                update={"bounds": (range_.low, range_.high), "epsilon": None}
            )
            proposal = SearchPolicy(config)(read_history(study, name, number=trial.number))
            assert proposal is not None  # without ε a search is never good enough
            # Optuna stores the parameter only when it has it: others may look before.
            storage, key = study._storage, _PROPOSED + name
            storage.set_trial_system_attr(trial._trial_id, key, proposal.lam)
        return proposal.lam

    def _leave(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        name: str,
        distribution: BaseDistribution,
        *,
        reason: str,
    ) -> Any:
        seed = zlib.crc32(repr((self._config.seed, trial.number, name)).encode())
        sampler = self._independent_sampler or RandomSampler(seed)
        if self._warn_independent_sampling:
            _logger.warning(
                "Parameter %r of trial %d is left to %s, and not searched by %s: %s. "
                "warn_independent_sampling=False turns this warning off.",
                *(name, trial.number, sampler, self, reason),
            )
        return sampler.sample_independent(study, trial, name, distribution)


def read_history(study: optuna.Study, name: str, *, number: int) -> History:
    """Return the history that the proposal for parameter `name` of trial `number` depends on.

    | trials | are |
    |---|---|
    | COMPLETE with a finite value | evaluated |
    | RUNNING or WAITING, of a lower number | pending |
    | RUNNING or WAITING, of a higher number | taken, where their λ is known |
    | FAIL, PRUNED, COMPLETE with an infinite value | failed: the same λ would end as before |

    λs are known if they are set, announced by a sampler, or fixed by `enqueue_trial`.
    """
    sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
    evaluations = []
    for trial in study.get_trials(deepcopy=False):
        evaluation = Evaluation.from_trial(trial, name)
        lam = evaluation.lam
        if math.isnan(lam):
            lam = trial.system_attrs.get(_PROPOSED + name, math.nan)
        if trial.number != number and not (math.isnan(lam) and trial.state.is_finished()):
            scores = {image_id: sign * score for image_id, score in evaluation.scores.items()}
            evaluations.append(dataclasses.replace(evaluation, lam=lam, scores=scores))
    return History(tuple(evaluations), number)


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
