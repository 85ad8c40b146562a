"""Shards: cut like a serial run, handed out in any order, due in the order of the images."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamsearch.errors import EvaluationError
from lamsearch.evaluation.shards import RETRIES, Shard, ShardQueue

IMAGES = st.sets(st.integers(0, 200), max_size=40).map(sorted)


def test_shards_are_the_batches_of_a_serial_run() -> None:
    queue = ShardQueue[int](range(10), 4, done=[1, 4, 5, 6, 7], window=9)
    shards = [queue.take() for _ in range(3)]
    assert shards == [Shard((0, 2, 3)), Shard((8, 9)), None]


@given(
    images=IMAGES,
    size=st.integers(1, 9),
    fits=st.integers(1, 9),
    window=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_every_image_is_due_once_and_in_order_whatever_fails(
    images: list[int], size: int, fits: int, window: int, seed: int
) -> None:
    """Workers end in any order, die, and run out of memory."""
    draw, queue = random.Random(seed), ShardQueue[Shard](images, size, window=window)
    begun: list[Shard] = []
    found: list[int] = []
    while not queue.is_done:
        while (shard := queue.take()) is not None:
            begun.append(shard)
        assert 0 < len(begun) <= window
        shard = begun.pop(draw.randrange(len(begun)))
        if len(shard.image_ids) > fits:
            queue.halve(shard, "out of memory")
        elif shard.failures < RETRIES and draw.random() < 0.3:
            queue.retry(shard, "died")
        else:
            queue.complete(shard, shard)
        found += [i for each in queue.due() for i in each.image_ids]
    assert found == images


def test_what_did_not_fit_is_not_tried_again() -> None:
    queue = ShardQueue[int](range(16), 8)
    queue.halve(queue.take(), "full")  # type: ignore[arg-type]
    sizes = []
    while (shard := queue.take()) is not None:
        sizes.append(len(shard.image_ids))
        queue.complete(shard, 0)
        assert list(queue.due()) == [0]
    assert sizes == [4, 4, 4, 4]
    assert queue.size == 4


def test_retries_and_halves_are_bounded() -> None:
    queue = ShardQueue[int](range(1), 8)
    for _ in range(RETRIES):
        queue.retry(queue.take(), "gone")  # type: ignore[arg-type]
    last = queue.take()
    assert last is not None
    with pytest.raises(EvaluationError, match="image 0 failed 4 times: gone"):
        queue.retry(last, "gone")
    with pytest.raises(EvaluationError, match=r"out of memory with a single image \(full\)"):
        queue.halve(last, "full")
