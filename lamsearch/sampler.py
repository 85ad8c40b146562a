"""The Optuna sampler: ordered history → next λ, a pure function with no state of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lamsearch.acquisition import next_lam
from lamsearch.design import initial_lams
from lamsearch.observations import observe
from lamsearch.study import Evaluation
from lamsearch.surrogate import fit_surrogate

INITIAL_DESIGN = 4
_DIGITS = 6
"""Of a proposal, relative to the width of the bounds: λ stays readable."""


class LamSampler(BaseSampler):
    """Gaussian-process search over one float parameter, for λ or anything like it.

    The proposal for trial number t depends on the seed, t, the finished trials before it in the
    order of their numbers, and the parameters of those still running: a study that is killed and
    resumed goes on exactly as it would have.

    Args:
        seed: Of the initial design.
        acquisition: "auto", "ei", "ucb" or "kg", as in `lamsearch.acquisition`.
    """

    def __init__(self, seed: int = 0, acquisition: str = "auto") -> None:
        self._seed, self._acquisition = seed, acquisition

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no relative space: the one parameter is proposed when it is asked for."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as there is no relative space."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> float:
        """Return the next value of the parameter.

        Raises:
            ValueError: If the parameter is not the study's only one, or no plain float.
        """
        _require_one_float(trial, param_name, param_distribution)
        assert isinstance(param_distribution, FloatDistribution)
        bounds = (param_distribution.low, param_distribution.high)
        earlier = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        lam = self._propose(study, earlier, trial.number, name=param_name, bounds=bounds)
        digits = _DIGITS - math.ceil(math.log10(bounds[1] - bounds[0]))
        return min(max(round(lam, digits), bounds[0]), bounds[1])

    def _propose(
        self,
        study: optuna.Study,
        earlier: Sequence[FrozenTrial],
        number: int,
        *,
        name: str,
        bounds: tuple[float, float],
    ) -> float:
        if number < INITIAL_DESIGN:
            return initial_lams(INITIAL_DESIGN, bounds=bounds, seed=self._seed)[number]
        by_state = {
            state: [t for t in earlier if t.state == state and name in t.params]
            for state in (TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL)
        }
        if not by_state[TrialState.COMPLETE]:
            return initial_lams(number + 1, bounds=bounds, seed=self._seed)[number]
        sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
        rows = [sign * Evaluation.of(t).row for t in by_state[TrialState.COMPLETE]]
        surrogate = fit_surrogate(
            observe([t.params[name] for t in by_state[TrialState.COMPLETE]], rows), bounds=bounds
        )
        return next_lam(
            surrogate,
            acquisition=self._acquisition,
            evaluated=[t.params[name] for t in by_state[TrialState.FAIL]],
            pending=[t.params[name] for t in by_state[TrialState.RUNNING]],
        )


def _require_one_float(
    trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
) -> None:
    others = [name for name in trial.params if name != param_name]
    if others:
        raise ValueError(
            f"LamSampler searches one parameter, but the trial has {others} and {param_name!r}"
        )
    plain = isinstance(param_distribution, FloatDistribution) and not (
        param_distribution.log or param_distribution.step
    )
    if not plain:
        raise ValueError(
            f"LamSampler searches a plain float, not {param_name!r} with {param_distribution}"
        )
