"""Posterior draws of the curve J: what λ* may lose, and where the best λ may be."""

from __future__ import annotations

import torch

from lamsearch.bayesopt.answer_rule import even_line, is_allowed
from lamsearch.bayesopt.line_search import GRID_SIZE, Feasible
from lamsearch.surrogate.model import Surrogate, square_root

LEVEL = 0.95
"""Level of all intervals."""

_DRAWS = 2048
_PLAN_POINTS = 12


class PosteriorCurves:
    """Posterior draws of J at λ* and on the line.

    Attributes:
        loss: (draws,) what λ* loses against the best λ that the constraint allows to recommend.
    """

    def __init__(
        self, surrogate: Surrogate, lam: float, *, feasible: Feasible | None, required: float
    ) -> None:
        at = torch.tensor([lam], dtype=torch.float64)
        self._lams = torch.cat([at, even_line(surrogate)])
        self._bounds = surrogate.bounds
        self._feasible, self._generator = feasible, torch.Generator().manual_seed(0)
        level = surrogate.mean(at).item()
        self._draws = surrogate.draws(self._lams, _DRAWS, generator=self._generator, less=level)
        best = self._draws.where(is_allowed(self._lams, feasible, required), -torch.inf).max(dim=1)
        self.loss = (best.values - self._draws[:, 0]).clamp_min(0)

    def interval(self) -> tuple[float, float]:
        """Return the central interval of the best λ where the constraint holds.

        The region is drawn too: each curve gets one random level, and the constraint holds wherever
        it does so with this probability or more.
        """
        draws = self._draws
        if self._feasible is not None:
            probability = self._feasible(self._lams)
            levels = torch.rand(len(draws), 1, dtype=torch.float64, generator=self._generator)
            draws = draws.where(probability >= levels * probability.max(), -torch.inf)
        tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
        low, high = self._lams[draws.argmax(dim=1)].quantile(tails).tolist()
        # A point of the line stands for the λs that are nearest to it.
        (lowest, highest), cell = self._bounds, (self._lams[2] - self._lams[1]).item()
        return max(low - cell / 2, lowest), min(high + cell / 2, highest)

    def probability(self, epsilon: float) -> float:
        """Return P(J(λ*) ≥ max J − ε)."""
        return (self.loss <= epsilon).double().mean().item()


def plan_share(
    surrogate: Surrogate, loss: float, *, feasible: Feasible | None, required: float
) -> float | None:
    """Return the share of the expected loss that only more images can reduce.

    It is what would stay if the images' mean scores were known at every λ; None where errors are
    independent, so that no image can be added.
    """
    if surrogate.observations.image_noise is None or loss <= 0:
        return None
    line = even_line(surrogate, GRID_SIZE // 2 + 1)
    everywhere = surrogate.believe(line[:: len(line) // _PLAN_POINTS])
    line = line[is_allowed(line, feasible, required)]
    if not len(line):
        return None
    # What the posterior mean would still move by: the law of total covariance.
    moves = surrogate.covariance(line) - everywhere.covariance(line)
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(len(line), _DRAWS, dtype=torch.float64, generator=generator)
    means = surrogate.mean(line)[:, None] + square_root(moves) @ normal
    saved = means.max(dim=0).values.mean() - surrogate.mean(line).max()
    return min(max(1 - saved.item() / loss, 0.0), 1.0)
