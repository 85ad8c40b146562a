"""Shards of an evaluation: which images to generate next, by whom it does not know.

A shard is one call of the pipeline. The last digits of a score depend on the number of images in
its call, so the shards are the batches of a serial run: the same images, cut at the same places.
Shards may end in any order; their results are due in the order of the images.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lamsearch.errors import EvaluationError

RETRIES = 3
"""How often a shard may fail for no reason of its own before the evaluation does."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Shard:
    """Images for one call of the pipeline.

    Attributes:
        image_ids: Increasing positions in the plan.
        failures: How often it was lost, with the process that worked on it.
    """

    image_ids: tuple[int, ...]
    failures: int = 0

    @property
    def text(self) -> str:
        """The images in words."""
        first, last = self.image_ids[0], self.image_ids[-1]
        return f"image {first}" if first == last else f"images {first} to {last}"


class ShardQueue(Generic[_Result]):
    """The shards of one evaluation.

    Args:
        image_ids: Increasing ids of all its images.
        size: Images per shard.
        done: Images that need no more work. The cuts are where they would be without them, so that
            a resumed evaluation has the shards of an uninterrupted one.
        window: Shards that may be begun before the first unfinished one ends: what is finished
            within the window is lost if the process is killed.
    """

    def __init__(
        self, image_ids: Sequence[int], size: int, *, done: Container[int] = (), window: int = 1
    ) -> None:
        self._size, self._window = size, window
        cuts = [image_ids[start : start + size] for start in range(0, len(image_ids), size)]
        wanted = [tuple(i for i in cut if i not in done) for cut in cuts]
        self._waiting = [Shard(ids) for ids in wanted if ids]
        self._begun: list[Shard] = []
        self._results: dict[tuple[int, ...], _Result] = {}

    @property
    def size(self) -> int:
        """Most images per shard that fit into memory, as far as is known."""
        return self._size

    @property
    def is_done(self) -> bool:
        """Whether every result was handed out."""
        return not (self._waiting or self._begun or self._results)

    def take(self) -> Shard | None:
        """Return the shard to work on next; None while there is none, or the window is full."""
        if not self._waiting or len(self._begun) + len(self._results) >= self._window:
            return None
        shard = self._waiting.pop(0)
        if len(shard.image_ids) > self._size:
            shard, *rest = self._cut(shard)
            self._waiting[:0] = rest
        self._begun.append(shard)
        return shard

    def complete(self, shard: Shard, result: _Result) -> None:
        """Keep the result of a shard until it is due."""
        self._begun.remove(shard)
        self._results[shard.image_ids] = result

    def due(self) -> Iterator[_Result]:
        """Yield, and hand out, the results that no unfinished shard comes before."""
        unfinished = min((s.image_ids for s in (*self._waiting, *self._begun)), default=None)
        for image_ids in sorted(self._results):
            if unfinished is None or image_ids < unfinished:
                yield self._results.pop(image_ids)

    def halve(self, shard: Shard, reason: str) -> None:
        """Cut a shard that memory did not suffice for, and every later one of its size.

        Raises:
            EvaluationError: If it is a single image.
        """
        if len(shard.image_ids) == 1:
            raise EvaluationError(
                f"out of memory with a single image ({reason}): use a smaller dtype or image size"
            )
        self._size = min(self._size, (len(shard.image_ids) + 1) // 2)
        self._put_back(*self._cut(shard))
        self._begun.remove(shard)

    def retry(self, shard: Shard, reason: str) -> None:
        """Put a shard back that was lost with the process that worked on it.

        Raises:
            EvaluationError: If it was lost too often.
        """
        if shard.failures >= RETRIES:
            raise EvaluationError(f"{shard.text} failed {RETRIES + 1} times: {reason}")
        self._begun.remove(shard)
        self._put_back(replace(shard, failures=shard.failures + 1))

    def _put_back(self, *shards: Shard) -> None:
        self._waiting = sorted([*self._waiting, *shards], key=lambda shard: shard.image_ids)

    def _cut(self, shard: Shard) -> list[Shard]:
        ids, size = shard.image_ids, self._size
        return [
            replace(shard, image_ids=ids[start : start + size])
            for start in range(0, len(ids), size)
        ]
