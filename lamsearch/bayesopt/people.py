"""What votes say: people's λ*, and the pair that would tell most about it. Pure, deterministic.

| symbol | code | meaning |
|---|---|---|
| x | `_best_cell` | the part of the bounds in which people's best λ lies |
| y | | outcome of one more vote: first, second, or a tie |
| I(x; y) | `information` | = H(y) − H(y given x), in nats: what a vote tells of the best λ |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamsearch.bayesopt.line_search import GRID_SIZE, maximize_on_line
from lamsearch.bayesopt.posterior_curves import LEVEL
from lamsearch.surrogate.laplace import outcome_log_probabilities
from lamsearch.surrogate.preference import PreferenceSurrogate

_DRAWS = 2048
_COARSE, _CELLS, _FEWER_DRAWS = 37, 12, 1024
"""For the choice of a pair: points of the line, cells that the best λ may lie in, and draws."""


@dataclass(frozen=True)
class Favourite:
    """People's λ* and how sure it is.

    Attributes:
        lam: Argmax of the posterior mean of the utility over the bounds.
        lam_interval: Central 95 % of the posterior of the best λ, widened to contain `lam`.
    """

    lam: float
    lam_interval: tuple[float, float]


def favourite(surrogate: PreferenceSurrogate) -> Favourite:
    """Return people's λ*."""
    lam, _ = maximize_on_line(surrogate.mean, surrogate.bounds, zooms=3)
    line = torch.linspace(*surrogate.bounds, GRID_SIZE, dtype=torch.float64)
    draws = surrogate.draws(line, _DRAWS, generator=torch.Generator().manual_seed(0))
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = line[draws.argmax(dim=1)].quantile(tails).tolist()
    # A point of the line stands for the λs that are nearest to it.
    (lowest, highest), cell = surrogate.bounds, (line[1] - line[0]).item()
    low, high = max(low - cell / 2, lowest), min(high + cell / 2, highest)
    return Favourite(lam, (min(low, lam), max(high, lam)))


def information(surrogate: PreferenceSurrogate, pairs: Tensor) -> Tensor:
    """Return what one vote on each pair of λs (P, 2) tells of people's best λ: I(x; y), (P,)."""
    line = torch.linspace(*surrogate.bounds, _COARSE, dtype=torch.float64)
    lams, which = torch.unique(pairs, return_inverse=True)
    generator = torch.Generator().manual_seed(0)
    draws = surrogate.draws(torch.cat([line, lams]), _FEWER_DRAWS, generator=generator)
    utility = draws[:, len(line) :]
    difference = utility[:, which[:, 0]] - utility[:, which[:, 1]]
    log_ties = torch.tensor(surrogate.ties, dtype=torch.float64).log()
    outcomes = outcome_log_probabilities(difference, log_ties).exp()
    cell = draws[:, : len(line)].argmax(dim=1) * _CELLS // len(line)
    inside = torch.nn.functional.one_hot(cell, _CELLS).double()
    shares = inside.mean(dim=0)
    given = torch.einsum("sc,spy->cpy", inside, outcomes) / len(draws)
    given = given / shares.clamp_min(1 / len(draws))[:, None, None]
    return _entropy(outcomes.mean(dim=0)) - shares @ _entropy(given)


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)
