"""Actors of a study on many GPUs: who is idle, who died, and what came of each one's shard.

An actor that dies is started again by Ray, on another node if need be, and loads its models again;
meanwhile the others go on. What an actor was at is told to the caller, who puts it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from lamsearch.errors import EvaluationError, first_line
from lamsearch.evaluation.actor_state import ActorState, OnActor
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.images import OutOfMemory
from lamsearch.evaluation.ray_actors import ActorJob, Failed, ImageActor, Loaded, Scored
from lamsearch.evaluation.shards import Shard

RESTARTS = 3
"""How often Ray starts an actor again that died."""

Outcome = Scored | OutOfMemory | Failed


@dataclass
class _Seat:
    """One actor, and what it is at.

    Attributes:
        call: The call in progress; None for an idle actor, and one that is lost.
        shard: What it generates; None while it loads, and once nobody waits for the outcome.
        opened: The plan that it was told to open since it was last started.
    """

    number: int
    actor: Any
    call: Any = None
    shard: Shard | None = None
    loaded: Loaded | None = None
    opened: str | None = None
    is_lost: bool = False
    images: int = 0
    seconds: float = 0.0

    @property
    def is_idle(self) -> bool:
        return self.call is None and not self.is_lost


class ActorPool(AbstractContextManager["ActorPool"]):
    """Long-lived actors with one pipeline each; killed at the end of the `with` block.

    Args:
        ray: The connected module.
        job: What each actor loads.
        count: Number of actors.
        gpus: GPUs of each.
        on_actor: Told what the actors do.
    """

    def __init__(
        self, ray: Any, job: ActorJob, *, count: int, gpus: int, on_actor: OnActor | None
    ) -> None:
        self._ray, self._on_actor = ray, on_actor
        remote = ray.remote(ImageActor).options(
            num_cpus=1, num_gpus=gpus, max_concurrency=1, max_restarts=RESTARTS, max_task_retries=0
        )
        self._seats = [_Seat(number + 1, remote.remote(job)) for number in range(count)]
        self._problem = Failed("no actor was started")
        self._first: Loaded | None = None
        self._plan: tuple[str, Any] = "", None

    def __enter__(self) -> ActorPool:
        for seat in self._seats:
            self._load(seat)
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats:
            self._ray.kill(seat.actor)
            if seat.images:
                speed = f"{seat.images} images in {seat.seconds:.1f} s of work"
                self._tell(seat, "done", speed)

    def wait_until_loaded(self) -> Loaded:
        """Return what the first actor says that is ready.

        Raises:
            LamsearchError: If none becomes ready.
        """
        while True:
            for seat in self._seats:
                if seat.loaded is not None:
                    return seat.loaded
            list(self.wait())

    def open(self, key: str, plan: Sequence[PlannedImage]) -> None:
        """Prepare for a plan of images.

        Raises:
            SettingsError: If the pipeline cannot generate it.
        """
        self._plan = key, self._ray.put(tuple(plan))
        self.wait_until_loaded()
        seat = next(seat for seat in self._seats if seat.loaded is not None)
        outcome = self._outcome(seat.actor.open.remote(*self._plan))
        if isinstance(outcome, Failed) and outcome.error is not None:
            raise outcome.error

    def submit(self, lam: float, shard: Shard) -> None:
        """Give a shard of the open plan to an idle actor."""
        seat = next(seat for seat in self._seats if seat.is_idle)
        key, plan = self._plan
        if seat.opened != key:
            seat.actor.open.remote(key, plan)  # calls of one caller run in order
            seat.opened = key
        seat.call, seat.shard = seat.actor.score.remote(key, lam, shard.image_ids), shard
        self._tell(seat, f"λ = {lam:.3f}, {shard.text}")

    @property
    def has_idle(self) -> bool:
        """Whether an actor has nothing to do."""
        return any(seat.is_idle for seat in self._seats)

    def complain(self, text: str) -> None:
        """Tell that the last actor has no work, and why."""
        self._tell(self._seats[-1], "idle", text)

    def __len__(self) -> int:
        return len(self._seats)

    def wait(self) -> Iterator[tuple[Shard, Outcome]]:
        """Wait until something happens, and yield the shards that ended, if any.

        Raises:
            LamsearchError: If no actor is left.
        """
        calls = {seat.call: seat for seat in self._seats if seat.call is not None}
        if not calls:
            raise self._problem.error or EvaluationError(
                f"all {len(self._seats)} actors are lost: {self._problem.reason}"
            )
        ended, _ = self._ray.wait(list(calls), num_returns=1)
        for call in ended:
            yield from self._ended(calls[call])

    def forget(self) -> None:
        """Drop the outcomes of what is in progress: nobody waits for them any more."""
        for seat in self._seats:
            seat.shard = None

    def _ended(self, seat: _Seat) -> Iterator[tuple[Shard, Outcome]]:
        shard, call = seat.shard, seat.call
        seat.call = seat.shard = None
        outcome = self._outcome(call)
        if isinstance(outcome, Loaded):
            self._take_in(seat, outcome)
        elif seat.loaded is None:
            self._lose(seat, outcome if isinstance(outcome, Failed) else Failed(outcome.reason))
        else:
            self._look_after(seat, outcome)
            if shard is not None:
                yield shard, outcome

    def _look_after(self, seat: _Seat, outcome: Outcome) -> None:
        """Start an actor again that died, or whose process may have become unusable."""
        if isinstance(outcome, Scored):
            seat.images += len(outcome.batch.image_ids)
            seat.seconds += outcome.batch.seconds
        if isinstance(outcome, _Died | _DiedOfMemory):
            self._load(seat, f"died, and is started again: {outcome.reason}")
        elif isinstance(outcome, Failed) and outcome.error is None:
            self._ray.kill(seat.actor, no_restart=False)
            self._load(seat, f"failed, and is started again: {outcome.reason}")
        else:
            self._tell(seat, "idle")

    def _outcome(self, call: Any) -> Any:
        """Return what a call returned, or that its process is gone."""
        try:
            return self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            reason = _reason(error)
            is_memory = isinstance(error, self._ray.exceptions.OutOfMemoryError)
            # Of actors that its memory monitor killed, Ray says so only in the text.
            if is_memory or "memory monitor" in str(error).lower():
                return _DiedOfMemory(reason)
            return _Died(reason)

    def _load(self, seat: _Seat, news: str | None = None) -> None:
        seat.loaded = seat.opened = None
        self._tell(seat, "loading", news)
        seat.call = seat.actor.load.options(max_task_retries=-1).remote()

    def _take_in(self, seat: _Seat, loaded: Loaded) -> None:
        """Let an actor work, if it has loaded the same as the first one that was ready."""
        first = self._first = self._first or loaded
        if first.manifest != loaded.manifest:
            names = [k for k in loaded.manifest if loaded.manifest[k] != first.manifest.get(k)]
            self._lose(seat, Failed(f"{loaded.host} has another {', '.join(names)}"))
            return
        seat.loaded = loaded
        self._tell(seat, "idle", f"ready on {loaded.host}, process {loaded.pid}")

    def _lose(self, seat: _Seat, problem: Failed) -> None:
        self._ray.kill(seat.actor)
        seat.is_lost, self._problem = True, problem
        self._tell(seat, "lost", f"lost: {problem.reason}")

    def _tell(self, seat: _Seat, activity: str, news: str | None = None) -> None:
        if self._on_actor is not None:
            self._on_actor(ActorState(seat.number, activity, seat.images, seat.seconds, news))


class _Died(Failed):
    """The process of an actor is gone, and so is what it worked on."""


class _DiedOfMemory(OutOfMemory):
    """The process was killed because its machine ran out of memory."""


def _reason(error: Exception) -> str:
    """Return why an actor died, out of Ray's lines of facts about it."""
    lines = [line.strip() for line in str(error).splitlines()]
    cause = next((line for line in lines if "because" in line), first_line(error))
    return cause.partition(" Some common causes")[0]
