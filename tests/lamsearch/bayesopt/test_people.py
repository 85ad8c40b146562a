"""People's λ* and the pairs that are shown: simulated raters with a known favourite."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from examples.benchmarks.votes import simulate
from lamsearch.bayesopt.people import favourite, information
from lamsearch.bayesopt.voting_policy import Pair, compare, fit_votes, next_pair
from lamsearch.study.votes import Vote

LAMS = tuple(torch.linspace(0, 1, 9, dtype=torch.float64).tolist())
KEPT = dict.fromkeys(range(4), LAMS)


def vote(low: float, high: float, choice: str, *, rater: str = "a", image_id: int = 0) -> Vote:
    return Vote.from_json(
        {
            "rater": rater,
            "image_id": image_id,
            "left": low,
            "right": high,
            "choice": choice,
            "time": "2026-01-01T00:00:00+00:00",
        }
    )


def propose(votes: list[Vote], rater: str = "a") -> Pair:
    fitted = fit_votes(votes, bounds=(0.0, 1.0), kernel="matern")
    return next_pair(fitted, votes, kept=KEPT, rater=rater)


@pytest.mark.slow
def test_simulated_raters_favourite_is_within_the_interval() -> None:
    outcomes = [simulate(seed, votes=24) for seed in range(50)]
    assert sum(outcome.covered for outcome in outcomes) >= 45
    assert sum(outcome.width for outcome in outcomes) / 50 < 0.7
    assert sum(outcome.error for outcome in outcomes) / 50 < 0.12


def test_a_pair_depends_on_the_votes_alone() -> None:
    votes = [vote(0.0, 1.0, "right"), vote(0.25, 0.75, "tie", image_id=1)]
    assert propose(votes) == propose(list(reversed(votes)))
    assert propose(votes) != propose(votes + [vote(0.5, 1.0, "left", image_id=i) for i in range(8)])


def test_the_sides_do_not_matter() -> None:
    one, other = compare([vote(0.2, 0.6, "left")]), compare([vote(0.6, 0.2, "right")])
    assert [each.tolist() for each in one] == [each.tolist() for each in other]


def test_the_image_is_one_that_the_rater_has_seen_least() -> None:
    first = propose([])
    assert first.image_id == 0
    again = [vote(first.low, first.high, "tie", image_id=i) for i in (0, 1)]
    fitted = fit_votes([], bounds=(0.0, 1.0), kernel="matern")
    assert next_pair(fitted, again, kept=KEPT, rater="a").image_id == 2
    only = {5: LAMS, 7: (0.0, 0.125)}
    assert next_pair(fitted, again, kept=only, rater="a").image_id == 5


def test_information_is_that_of_a_vote() -> None:
    """It is positive, less than the outcome's entropy, and none where λ is compared with itself."""
    fitted = fit_votes([vote(0.0, 1.0, "right")] * 4, bounds=(0.0, 1.0), kernel="matern")
    pairs = torch.tensor(list(combinations(LAMS, 2)), dtype=torch.float64)
    told = information(fitted, pairs)
    assert (told > 0).all()
    assert (told < torch.tensor(3.0).log()).all()
    same = information(fitted, torch.tensor([[0.5, 0.5]], dtype=torch.float64))
    assert same.item() == pytest.approx(0, abs=1e-12)


def test_people_who_like_more_alignment_get_a_larger_lam() -> None:
    def answer(choice: str) -> float:
        votes = [vote(low, high, choice) for low, high in combinations((0.0, 0.5, 1.0), 2)] * 3
        return favourite(fit_votes(votes, bounds=(0.0, 1.0), kernel="matern")).lam

    assert answer("left") < 0.2
    assert answer("right") > 0.8
    tied = [vote(low, high, "tie") for low, high in combinations((0.0, 0.5, 1.0), 2)]
    low, high = favourite(fit_votes(tied, bounds=(0.0, 1.0), kernel="matern")).lam_interval
    assert high - low > 0.9
