"""The rewards tracked beside the objective: what they say about λ*, as a guard against hacking.

Each has a surrogate of its own over the same images, like the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lamsearch.bayesopt.constraint import guard_surrogate
from lamsearch.bayesopt.recommendation import Gain, gain
from lamsearch.report.json_form import NOT_JSON
from lamsearch.study.history import score_rows
from lamsearch.study.records import Evaluation
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.pairing import observe


@dataclass(frozen=True)
class TrackedReward:
    """A tracked reward at λ*.

    Attributes:
        name: Name of the reward.
        value: Estimate of its mean G(λ*).
        stderr: Standard error of `value`, for new images of the same kind.
        gain: G(λ*) − G(0); None where the bounds leave λ = 0 out.
        surrogate: Its surrogate. Not in the JSON.
    """

    name: str
    value: float
    stderr: float
    gain: Gain | None
    surrogate: Surrogate = field(repr=False, compare=False, metadata=NOT_JSON)

    @property
    def falls(self) -> bool:
        """Whether it is worse at λ* than at the reference, beyond doubt."""
        return self.gain is not None and self.gain.interval[1] < 0


def tracked_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the names of the tracked rewards."""
    return list(dict.fromkeys(name for each in evaluations for name in each.tracked))


def tracked_surrogates(
    evaluations: Sequence[Evaluation], *, bounds: tuple[float, float]
) -> dict[str, Surrogate]:
    """Fit a surrogate to each tracked reward that has a score anywhere, by name."""
    lams = [evaluation.lam for evaluation in evaluations]
    fitted = {
        name: guard_surrogate(lams, score_rows(evaluations, name), bounds=bounds)
        for name in tracked_names(evaluations)
    }
    return {name: surrogate for name, surrogate in fitted.items() if surrogate is not None}


def tracked_means(evaluations: Sequence[Evaluation]) -> dict[str, list[float]]:
    """Return each tracked reward's mean at each evaluation, by name; NaN where it has no score."""
    means = {}
    for name in tracked_names(evaluations):
        column = np.full(len(evaluations), np.nan)
        rows = score_rows(evaluations, name)
        scored = [index for index, row in enumerate(rows) if not np.isnan(row).all()]
        if scored:
            lams = [evaluations[index].lam for index in scored]
            column[scored] = observe(lams, [rows[index] for index in scored]).values
        means[name] = column.tolist()
    return means


def tracked_reward(surrogate: Surrogate, name: str, lam: float) -> TrackedReward:
    """Return what the surrogate of a tracked reward says about λ*."""
    at = torch.tensor([lam], dtype=torch.float64)
    inside = surrogate.bounds[0] <= 0 <= surrogate.bounds[1]
    over_reference = gain(surrogate, lam, 0.0) if inside else None
    value, stderr = surrogate.mean(at).item(), surrogate.level_variance(at).sqrt().item()
    return TrackedReward(name, value, stderr, over_reference, surrogate)
