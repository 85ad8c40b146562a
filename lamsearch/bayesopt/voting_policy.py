"""Votes → the pair of images to show next. Pure: the votes and the kept images decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from lamsearch.bayesopt.people import information
from lamsearch.study.votes import Vote
from lamsearch.surrogate.laplace import Comparisons
from lamsearch.surrogate.preference import PreferenceSurrogate, fit_preferences


@dataclass(frozen=True)
class Pair:
    """One image of the plan at two λs.

    Attributes:
        image_id: The image.
        low: The smaller λ.
        high: The larger λ.
    """

    image_id: int
    low: float
    high: float


def compare(votes: Iterable[Vote]) -> Comparisons:
    """Count votes by pair of λs."""
    votes = list(votes)
    lams = sorted({lam for vote in votes for lam in vote.pair})
    counts: dict[tuple[int, int], list[int]] = {}
    for vote in votes:
        low, high = vote.pair
        outcomes = counts.setdefault((lams.index(low), lams.index(high)), [0, 0, 0])
        outcomes[2 if vote.preferred is None else int(vote.preferred == high)] += 1
    pairs = torch.tensor(sorted(counts), dtype=torch.long).reshape(-1, 2)
    table = torch.tensor([counts[pair] for pair in sorted(counts)], dtype=torch.float64)
    return Comparisons(
        torch.tensor(lams, dtype=torch.float64), pairs[:, 0], pairs[:, 1], table.reshape(-1, 3)
    )


def fit_votes(
    votes: Iterable[Vote], *, bounds: tuple[float, float], kernel: str
) -> PreferenceSurrogate:
    """Return the surrogate of people's utility."""
    return fit_preferences(compare(votes), bounds=bounds, kernel=kernel)


def next_pair(
    surrogate: PreferenceSurrogate,
    votes: Sequence[Vote],
    *,
    kept: Mapping[int, Sequence[float]],
    rater: str,
) -> Pair:
    """Return the pair that tells most about people's best λ.

    Of the images that there are at both λs it is one that this rater has seen least at them, then
    one that was voted on least.

    Args:
        surrogate: Fitted to the votes.
        votes: All votes of the study.
        kept: Image id → the λs at which it was kept; one of them at two λs or more.
        rater: Who is going to vote.
    """
    candidates = sorted({pair for lams in kept.values() for pair in combinations(sorted(lams), 2)})
    told = information(surrogate, torch.tensor(candidates, dtype=torch.float64))
    low, high = candidates[int(told.argmax())]
    seen = Counter(v.image_id for v in votes if v.pair == (low, high) and v.rater == rater)
    voted = Counter(vote.image_id for vote in votes)
    images = [image_id for image_id, lams in kept.items() if low in lams and high in lams]
    return Pair(min(images, key=lambda i: (seen[i], voted[i], i)), low, high)
