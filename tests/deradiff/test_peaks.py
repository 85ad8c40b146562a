"""The best strength: exact on parabolas, equivariant, and with intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest

from deradiff.agreement import Peak, compare_peaks, find_peak

BETAS = (250.0, 500.0, 1000.0, 2000.0, 5000.0)


def parabola(centre: float) -> np.ndarray:
    return 3 - 0.2 * (np.log(BETAS) - np.log(centre)) ** 2


def peak(scores: np.ndarray, seed: int = 0, resamples: int = 200) -> Peak:
    return find_peak(BETAS, scores, generator=np.random.default_rng(seed), resamples=resamples)


@pytest.mark.parametrize("centre", [400, 500, 777, 2000, 2600])
def test_a_parabola_in_log_beta_is_found_exactly(centre: float) -> None:
    found = peak(np.tile(parabola(centre)[:, None], 8))
    assert found.beta == pytest.approx(centre, rel=1e-9)
    assert found.lower == pytest.approx(centre, rel=1e-9)
    assert found.upper == pytest.approx(centre, rel=1e-9)
    assert not found.at_edge


@pytest.mark.parametrize(("centre", "edge"), [(100, 250), (30_000, 5000)])
def test_a_maximum_at_an_end_is_that_strength_and_says_so(centre: float, edge: float) -> None:
    found = peak(np.tile(parabola(centre)[:, None], 8))
    assert found.beta == pytest.approx(edge)
    assert found.at_edge


def test_equal_means_give_a_strength_of_the_grid() -> None:
    assert peak(np.ones((5, 4))).beta == pytest.approx(250)
    plateau = np.array([0.0, 1.0, 1.0, 1.0, 0.0])[:, None].repeat(4, axis=1)
    assert 500 <= peak(plateau).beta <= 2000


def test_scale_shift_and_missing_images_do_not_move_it() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, (1, 40))  # shared by all strengths
    scores = parabola(777)[:, None] + noise
    assert peak(5 * scores - 2).beta == pytest.approx(777)
    scores[:, 3] = np.nan
    assert peak(scores).beta == pytest.approx(777)


def test_the_interval_covers() -> None:
    held = 0
    for seed in range(100):
        draws = np.random.default_rng(seed)
        scores = parabola(800)[:, None] + draws.normal(0, 0.3, (5, 60))
        found = peak(scores, seed)
        held += found.lower <= 800 <= found.upper
    assert 88 <= held <= 100


def test_a_shift_is_measured_on_the_same_images() -> None:
    """What both curves share cancels in the ratio, though neither peak is known well."""
    draws = np.random.default_rng(3)
    shared = draws.normal(0, 0.5, (5, 60))
    original, approximated = (parabola(c)[:, None] + shared for c in (800, 880))
    generator = np.random.default_rng(0)
    shift = compare_peaks(BETAS, original, approximated, generator=generator, resamples=300)
    alone = peak(approximated, resamples=300)
    assert shift.emulated.beta == pytest.approx(alone.beta)
    assert shift.upper / shift.lower < alone.upper / alone.lower
    same = compare_peaks(
        BETAS, original, original, generator=np.random.default_rng(0), resamples=50
    )
    assert (same.ratio, same.lower, same.upper) == (1, 1, 1)


@pytest.mark.parametrize(
    ("betas", "scores", "message"),
    [
        ((1, 2), np.ones((2, 3)), "expected at least three"),
        ((1, 3, 2), np.ones((3, 3)), "ascending"),
        ((1, 2, np.inf), np.ones((3, 3)), "finite"),
        ((1, 2, 3), np.ones((2, 3)), "a row per strength"),
        ((1, 2, 3), [[1, 1], [np.nan, np.nan], [1, 1]], "has no score"),
    ],
)
def test_bad_input_is_one_line(betas: tuple, scores: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_peak(betas, scores, generator=np.random.default_rng(0), resamples=5)
    with pytest.raises(ValueError, match="shapes"):
        compare_peaks(
            (1, 2, 3),
            np.ones((3, 2)),
            np.ones((3, 4)),
            generator=np.random.default_rng(0),
            resamples=5,
        )


def test_resamples_without_an_image_of_some_strength_are_left_out() -> None:
    """Scores below 0: a mean of nothing must not count as 0, the largest of all."""
    scores = np.tile(parabola(777)[:, None], 50) - 10
    scores[0, 1:] = np.nan  # one image in 50, absent from more than a third of the resamples
    found = peak(scores)
    assert found.lower == pytest.approx(777)
    assert found.upper == pytest.approx(777)
