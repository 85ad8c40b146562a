"""The rewards recorded beside the optimised one: what they say of λ*, as a guard against hacking.

Each is seen as the optimised one is, by a surrogate of its own over the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lamsearch.bayesopt.constraint import guard_surrogate
from lamsearch.bayesopt.recommendation import Gain, gain
from lamsearch.study.records import Evaluation, score_rows
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.observations import observe


@dataclass(frozen=True)
class OtherReward:
    """Another reward at λ*.

    Attributes:
        name: Of the reward.
        value: Estimate of its mean G(λ*).
        stderr: Standard error of `value`, for new images of the same kind.
        gain: G(λ*) − G(0); None where the bounds leave λ = 0 out.
        surrogate: Of G. Not in the JSON.
    """

    name: str
    value: float
    stderr: float
    gain: Gain | None
    surrogate: Surrogate = field(repr=False, compare=False)

    @property
    def falls(self) -> bool:
        """Whether it is worse at λ* than at the reference, beyond doubt."""
        return self.gain is not None and self.gain.interval[1] < 0


def other_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the names of the other rewards that were recorded."""
    return list(dict.fromkeys(name for each in evaluations for name in each.others))


def other_surrogates(
    evaluations: Sequence[Evaluation], *, bounds: tuple[float, float]
) -> dict[str, Surrogate]:
    """Fit a surrogate to each of the other rewards that has a score anywhere, by name."""
    lams = [evaluation.lam for evaluation in evaluations]
    fitted = {
        name: guard_surrogate(lams, score_rows(evaluations, name), bounds=bounds)
        for name in other_names(evaluations)
    }
    return {name: surrogate for name, surrogate in fitted.items() if surrogate is not None}


def other_means(evaluations: Sequence[Evaluation]) -> dict[str, list[float]]:
    """Return each other reward's mean at each evaluation, by name; NaN where it has no score."""
    means = {}
    for name in other_names(evaluations):
        column = np.full(len(evaluations), np.nan)
        rows = score_rows(evaluations, name)
        scored = [index for index, row in enumerate(rows) if not np.isnan(row).all()]
        if scored:
            lams = [evaluations[index].lam for index in scored]
            column[scored] = observe(lams, [rows[index] for index in scored]).values
        means[name] = column.tolist()
    return means


def other_reward(surrogate: Surrogate, name: str, lam: float) -> OtherReward:
    """Return what the surrogate of another reward says of λ*."""
    at = torch.tensor([lam], dtype=torch.float64)
    inside = surrogate.bounds[0] <= 0 <= surrogate.bounds[1]
    over_reference = gain(surrogate, lam, 0.0) if inside else None
    value, stderr = surrogate.mean(at).item(), surrogate.level_variance(at).sqrt().item()
    return OtherReward(name, value, stderr, over_reference, surrogate)
