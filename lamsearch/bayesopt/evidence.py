"""Finished evaluations as the models see them: the surrogates of the objective and of the guard."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.constraint import feasibility, guard_surrogate
from lamsearch.bayesopt.line_search import Feasible
from lamsearch.study.history import score_rows
from lamsearch.study.records import Evaluation
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.pairing import observe


@dataclass(frozen=True, eq=False)
class Evidence:
    """n finished evaluations, in the order of their numbers; models are fitted when first used.

    Attributes:
        config: How the curve is modelled; all λs are within its bounds.
        lams: n evaluated λs.
        scores: n rows of the objective's scores, larger is better, as `observe` takes them.
        guard_scores: n rows of the constrained reward's scores; empty without a constraint.
    """

    config: SearchConfig = field(default_factory=SearchConfig)
    lams: Sequence[float] = ()
    scores: Sequence[NDArray[np.float64]] = ()
    guard_scores: Sequence[NDArray[np.float64]] = ()

    @classmethod
    def from_evaluations(cls, evaluations: Sequence[Evaluation], config: SearchConfig) -> Evidence:
        """Return the evidence of finished evaluations, in their order."""
        guard = config.constraint
        return cls(
            config,
            [evaluation.lam for evaluation in evaluations],
            score_rows(evaluations),
            [] if guard is None else score_rows(evaluations, guard.name),
        )

    @cached_property
    def surrogate(self) -> Surrogate:
        """Surrogate of J, fitted to n ≥ 1 evaluations."""
        return fit_surrogate(
            self._observations(),
            bounds=self.config.bounds,
            kernel=self.config.kernel_name,
            constant_mean=not self.config.is_algorithm_2,
        )

    @cached_property
    def feasible(self) -> Feasible | None:
        """Probability (g,) of the constraint at λs (g,); None while nothing is known of it."""
        if self.config.constraint is None:
            return None
        guard = guard_surrogate(self.lams, self.guard_scores, bounds=self.config.bounds)
        return None if guard is None else feasibility(guard, self.config.constraint)

    def _observations(self) -> Observations:
        observations = observe(self.lams, self.scores)
        if self.config.noise == "paired":
            return observations
        means = [float(np.nanmean(np.asarray(row))) for row in self.scores]
        # The images' common offset is part of the answer's error all the same.
        return dataclasses.replace(
            observe(self.lams, means), offset_variance=observations.offset_variance
        )
