"""How well votes find people's λ*: simulated raters whose favourite λ is known.

    python -m examples.benchmarks.votes --runs 50 --votes 24

A rater's utility falls with the square of the distance from a favourite λ between 0.05 and 0.95: it
is 15 logits lower at a distance of 1. Answers are drawn from Davidson's model with ν = 0.5. Each
study has 9 λs from 0 to 1 and 8 images. Pairs are those of `lamsearch vote`, or drawn at random.
In the last two rows each image has a favourite of its own, about the common one with a standard
deviation of 0.2, which the model does not know of: the interval is then one for these images.
"Covered" is the share of the runs whose interval has the common favourite.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch

from lamsearch.bayesopt.people import favourite
from lamsearch.bayesopt.voting_policy import Pair, fit_votes, next_pair
from lamsearch.study.votes import CHOICES, Vote
from lamsearch.surrogate.laplace import outcome_log_probabilities
from lamsearch.surrogate.preference import PreferenceSurrogate

LAMS: tuple[float, ...] = tuple(torch.linspace(0, 1, 9, dtype=torch.float64).tolist())
IMAGES = 8
STEEPNESS, TIES = 15.0, 0.5
SPREAD = 0.2

Pairs = Literal["telling", "random"]


@dataclass(frozen=True)
class Outcome:
    """One simulated vote: whether the interval has the favourite, its width, and λ*'s error."""

    covered: bool
    width: float
    error: float


class Rater:
    """Somebody with a favourite λ who errs at random.

    Args:
        generator: Source of all that is random.
        spread: Standard deviation of single images' favourites about the common one.
    """

    def __init__(self, generator: torch.Generator, spread: float = 0.0) -> None:
        self.best = 0.05 + 0.9 * torch.rand(1, generator=generator).item()
        shifts = spread * torch.randn(IMAGES, generator=generator, dtype=torch.float64)
        self._bests, self._generator = (self.best + shifts).tolist(), generator

    def vote(self, pair: Pair) -> Vote:
        """Return the vote on a pair."""
        left, right = pair.low, pair.high
        if torch.rand(1, generator=self._generator) < 0.5:
            left, right = right, left
        best = self._bests[pair.image_id]
        difference = STEEPNESS * ((right - best) ** 2 - (left - best) ** 2)
        ties = torch.tensor(TIES, dtype=torch.float64).log()
        outcomes = outcome_log_probabilities(torch.tensor(difference).double(), ties).exp()
        choice = CHOICES[int(torch.multinomial(outcomes, 1, generator=self._generator))]
        return Vote("simulated", pair.image_id, left, right, choice, "")


def simulate(seed: int, votes: int, *, pairs: Pairs = "telling", spread: float = 0.0) -> Outcome:
    """Return how one simulated vote ends."""
    generator = torch.Generator().manual_seed(seed)
    rater, cast = Rater(generator, spread), list[Vote]()
    for _ in range(votes):
        cast.append(rater.vote(_pair(cast, pairs, generator)))
    answer = favourite(_fit(cast))
    low, high = answer.lam_interval
    return Outcome(low <= rater.best <= high, high - low, abs(answer.lam - rater.best))


def _pair(cast: Sequence[Vote], pairs: Pairs, generator: torch.Generator) -> Pair:
    if pairs == "telling":
        kept = dict.fromkeys(range(IMAGES), LAMS)
        return next_pair(_fit(cast), cast, kept=kept, rater="simulated")
    candidates = list(combinations(LAMS, 2))
    which = int(torch.randint(len(candidates), (1,), generator=generator))
    image_id = int(torch.randint(IMAGES, (1,), generator=generator))
    return Pair(image_id, *candidates[which])


def _fit(cast: Sequence[Vote]) -> PreferenceSurrogate:
    return fit_votes(cast, bounds=(0.0, 1.0), kernel="matern")


def main(runs: int = 50, votes: int = 24) -> dict[tuple[Pairs, float], list[Outcome]]:
    found: dict[tuple[Pairs, float], list[Outcome]] = {}
    print(f"{runs} runs of {votes} votes\n")
    print("| pairs | images differ | covered | interval's width | error of λ* |")
    print("|---|---|---|---|---|")
    cases: list[tuple[Pairs, float]] = [
        ("telling", 0.0), ("random", 0.0), ("telling", SPREAD), ("random", SPREAD)
    ]  # fmt: skip
    for pairs, spread in cases:
        outcomes = [simulate(seed, votes, pairs=pairs, spread=spread) for seed in range(runs)]
        found[pairs, spread] = outcomes
        covered = sum(outcome.covered for outcome in outcomes)
        width = sum(outcome.width for outcome in outcomes) / runs
        error = sum(outcome.error for outcome in outcomes) / runs
        images = "no" if spread == 0 else "yes"
        print(f"| {pairs} | {images} | {covered} of {runs} | {width:.2f} | {error:.3f} |")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=50, help="simulated votes of each kind")
    parser.add_argument("--votes", type=int, default=24, help="votes in each")
    given = parser.parse_args()
    main(given.runs, given.votes)
