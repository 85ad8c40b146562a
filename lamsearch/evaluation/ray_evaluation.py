"""λ + image plan → scores, on many GPUs: the shards of an evaluation over long-lived actors.

The scores are those of a serial run with the same batch size, to the last digit, and come in the
same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lamsearch.errors import LamsearchError, SettingsError
from lamsearch.evaluation.actor_state import OnActor
from lamsearch.evaluation.image_plan import PlannedImage, plan_hash
from lamsearch.evaluation.images import OnImages, OnWay, OutOfMemory, wanted_images
from lamsearch.evaluation.ray_actors import ActorJob, Failed, Scored
from lamsearch.evaluation.ray_pool import ActorPool
from lamsearch.evaluation.ray_session import LOCAL, ray_session
from lamsearch.evaluation.shards import Shard, ShardQueue
from lamsearch.study.batches import Batch
from lamsearch.study.records import Evaluation

_AHEAD = 2
"""Shards per actor that may be begun before the first unfinished one ends."""


@contextmanager
def ray_models(
    job: ActorJob,
    *,
    address: str,
    actors: int | None,
    batch_size: int,
    on_actor: OnActor | None = None,
) -> Iterator[RayModels]:
    """Yield what a search evaluates with, once the first actor has loaded its models.

    Args:
        job: What each actor loads.
        address: That of a Ray cluster, or `local`.
        actors: Number of actors; None for one per GPU, or one where there is no GPU.
        batch_size: Images per shard; halved whenever memory runs out.
        on_actor: Told what the actors do.

    Raises:
        SettingsError: If Ray is not installed, or a local one has fewer GPUs than actors.
        LamsearchError: If there is no cluster, or no actor can load its models.
    """
    with ray_session(address, actors) as ray:
        gpus = 0 if job.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
        if address == LOCAL and gpus and actors is not None and actors > gpus:
            raise SettingsError(
                f"actors {actors} given, expected at most one per GPU of this machine: {gpus}"
            )
        count, each = actors or gpus or 1, min(gpus, 1)
        with ActorPool(ray, job, count=count, gpus=each, on_actor=on_actor) as pool:
            yield RayModels(pool, batch_size)


class RayModels:
    """The models of a search, loaded by actors.

    Args:
        pool: The actors.
        batch_size: Images per shard.
    """

    def __init__(self, pool: ActorPool, batch_size: int) -> None:
        self._pool, self._batch_size = pool, batch_size
        self._loaded = pool.wait_until_loaded()

    def evaluation(
        self,
        plan: Sequence[PlannedImage],
        on_images: OnImages | None = None,
        *,
        on_way: OnWay | None = None,
    ) -> RayEvaluation:
        """Return the evaluation of a plan; a context manager."""
        return RayEvaluation(
            self._pool, plan, batch_size=self._batch_size, on_images=on_images, on_way=on_way
        )

    @property
    def reference_fingerprint(self) -> str:
        """Digest of the weights of the reference's denoisers, whatever is loaded on top."""
        return self._loaded.reference_fingerprint

    def manifest(self, plan: Sequence[PlannedImage]) -> dict[str, Any]:
        """Return what the scores of the plan's images depend on, as JSON."""
        return {**self._loaded.manifest, "plan": plan_hash(plan)}


class RayEvaluation(AbstractContextManager["RayEvaluation"]):
    """Has the plan's images generated and scored by actors.

    Args:
        pool: The actors.
        plan: The images of the whole study.
        batch_size: Images per shard; halved whenever memory runs out.
        on_images: Called, before a batch is returned, with those of its images that are kept.
        on_way: Called when it is known how the models are mixed.

    Raises:
        SettingsError: If the pipeline cannot generate the plan.
    """

    def __init__(
        self,
        pool: ActorPool,
        plan: Sequence[PlannedImage],
        *,
        batch_size: int,
        on_images: OnImages | None = None,
        on_way: OnWay | None = None,
    ) -> None:
        self._pool, self._batch_size = pool, batch_size
        self._on_images, self._on_way = on_images, on_way
        self._way: str | None = None
        self._complained = False
        pool.open(plan_hash(plan), plan)

    def __exit__(self, *_: object) -> None:
        pass

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of those images of an evaluation that it does not have yet, in order."""
        image_ids = wanted_images(evaluation)
        self._complain_of_few_shards(len(image_ids))
        queue = ShardQueue[Scored](
            image_ids,
            self._batch_size,
            done=evaluation.scores,
            window=_AHEAD * len(self._pool),
        )
        try:
            while not queue.is_done:
                self._hand_out(queue, evaluation.lam)
                for shard, outcome in self._pool.wait():
                    self._take(queue, shard, outcome)
                for scored in queue.due():
                    not_kept = self._show(evaluation.lam, scored)
                    yield scored.batch
                    if not_kept is not None:  # only now that the scores are stored
                        raise not_kept
        finally:
            self._pool.forget()

    def _hand_out(self, queue: ShardQueue[Scored], lam: float) -> None:
        while self._pool.has_idle and (shard := queue.take()) is not None:
            self._pool.submit(lam, shard)

    def _take(
        self, queue: ShardQueue[Scored], shard: Shard, outcome: Scored | OutOfMemory | Failed
    ) -> None:
        if isinstance(outcome, Scored):
            queue.complete(shard, outcome)
        elif isinstance(outcome, OutOfMemory):
            queue.halve(shard, outcome.reason)
            self._batch_size = queue.size
        elif outcome.error is not None:
            raise outcome.error
        else:
            queue.retry(shard, outcome.reason)

    def _show(self, lam: float, scored: Scored) -> LamsearchError | None:
        """Hand over what is to be kept; return why it cannot be."""
        if scored.way is not None and scored.way != self._way and self._on_way is not None:
            self._on_way(scored.way)
        self._way = scored.way
        if self._on_images is not None and scored.pictures:
            try:
                self._on_images(lam, list(scored.pictures), list(scored.pictures.values()))
            except LamsearchError as error:
                return error
        return None

    def _complain_of_few_shards(self, images: int) -> None:
        count, shards = len(self._pool), -(-images // self._batch_size)
        if shards < count and not self._complained:
            self._complained = True
            self._pool.complain(
                f"has no work: {images} images in batches of {self._batch_size} are enough for "
                f"{shards} of {count} actors; a --batch-size of {max(1, images // count)} or less "
                "is for all"
            )
