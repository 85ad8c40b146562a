"""What an agreement says of its differences, and the names of its files."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lamsearch.agreement.analysis import _trust
from lamsearch.agreement.files import _stems
from lamsearch.agreement.results import Emulation


def emulations(differences: Sequence[tuple[float, float, float | None]]) -> list[Emulation]:
    """Return emulations with these λs, differences and standard errors."""
    return [
        Emulation(
            anchor="a", target="t", beta_anchor=500 * lam, beta_target=500, lam=lam, original=0.0,
            approximated=difference, difference=difference, difference_stderr=stderr,
            correlation=None, images=8,
        )
        for lam, difference, stderr in differences
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("differences", "ranges"),
    [
        # A tolerance of 0.1: the ranges end before the first that is not good, or not surely so.
        ([(0.1, 0.0, 0.01), (0.5, -0.05, 0.01), (2.0, 0.05, 0.01)], (0.1, 2.0, 0.1, 2.0)),
        ([(0.1, 0.0, 0.01), (0.2, -0.2, 0.01), (0.5, 0.0, 0.01)], (0.5, 1.0, 0.5, 1.0)),
        ([(0.1, 0.0, 0.01), (0.5, 0.0, 0.01), (2.0, -0.09, 0.01)], (0.1, 2.0, 0.1, 1.0)),
        ([(0.1, 0.0, 0.01), (0.5, 0.0, 0.06), (2.0, 0.0, 0.0)], (0.1, 2.0, 1.0, 2.0)),
        ([(0.5, 0.0, None), (2.0, 0.0, None)], (0.5, 2.0, 1.0, 1.0)),
        ([(0.5, 0.2, 0.0), (2.0, 0.2, 0.0)], (1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_trust_ends_before_the_first_difference_that_is_not_small(
    differences: Sequence[tuple[float, float, float | None]], ranges: tuple[float, ...]
) -> None:
    trust = _trust(emulations(differences), curve_range=1.0)
    assert (trust.low, trust.high, trust.surely_low, trust.surely_high) == ranges
    assert trust.tolerance == pytest.approx(trust.share)


def test_no_two_rewards_share_a_file() -> None:
    assert _stems(["clip", "my reward"]) == ["clip", "my_reward"]
    for rewards in (["a/b", "a_b"], ["a/b", "a_b", "a b", "2-a_b"], ["Clip", "clip"]):
        stems = _stems(rewards)
        assert len({stem.casefold() for stem in stems}) == len(rewards)
