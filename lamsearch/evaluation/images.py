"""λ + image plan → scores, batch by batch: the only bridge to deradiff."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL.Image import Image

import deradiff
from deradiff.step_schedule import first_steps
from lamsearch.config.settings import SamplingSettings
from lamsearch.errors import (
    LamsearchError,
    NoScoreError,
    SettingsError,
    first_line,
)
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.image_statistics import image_statistics
from lamsearch.evaluation.pixels import frames_of, is_usable
from lamsearch.evaluation.prompt_encoder import Prompts
from lamsearch.evaluation.rehearsal import rehearse
from lamsearch.evaluation.shards import ShardQueue
from lamsearch.rewards import Panel
from lamsearch.rewards.memory import free_memory, is_out_of_memory
from lamsearch.rewards.panel import PanelScores
from lamsearch.study.batches import Batch
from lamsearch.study.records import Evaluation

OnImages = Callable[[float, Sequence[int], Sequence[Image | None]], None]
"""Takes λ, image ids, and images (of a video the middle frame); a missing image is None."""

OnWay = Callable[[str], None]
"""Takes how the models are mixed, in words."""

Video = list[Image]
"""The frames of a video; an image is one frame."""


@dataclass(frozen=True)
class OutOfMemory:
    """Memory did not suffice for the images of one call.

    Attributes:
        reason: The first line of what the library said.
    """

    reason: str


class ImageEvaluation(AbstractContextManager["ImageEvaluation"]):
    """Generates the plan's images at any λ and scores them; to be used as a context manager.

    Image i has its own prompt, seed and CPU generator, so that neither the batch size nor the
    order of work nor a restart changes a draw.

    Args:
        anchor: The pipeline and its aligned model; realigned until the end of the `with` block.
        plan: The images of the whole study.
        panel: The rewards that score them.
        sampling: How they are sampled.
        batch_size: Images in one call of the pipeline; halved whenever memory runs out.
        on_images: Called with each batch before its scores are returned.
        on_way: Called when it is known how the models are mixed.

    Raises:
        SettingsError: If there is a negative prompt and the pipeline takes none, or it refuses how
            images are to be sampled; from `batches`, if no way to mix the models is exact.
        NoScoreError: From `batches`, if there is no mixture at some λ.
        EvaluationError: From `batches`, if the pipeline returns no pixels, or memory runs out.
    """

    def __init__(
        self,
        anchor: deradiff.Anchor,
        plan: Sequence[PlannedImage],
        panel: Panel,
        *,
        sampling: SamplingSettings,
        batch_size: int,
        on_images: OnImages | None = None,
        on_way: OnWay | None = None,
    ) -> None:
        self._anchor, self._plan, self._panel = anchor, plan, panel
        self._sampling, self._batch_size = sampling, batch_size
        self._on_images, self._on_way = on_images, on_way
        self._way: str | None = None
        self._prompts = Prompts(
            anchor.pipe, plan, sampling.negative_prompt, as_text=anchor.has_own_condition
        )
        if plan:
            first = self._arguments(plan[:1])
            rehearse(anchor.pipe, lambda: anchor.pipe(**first), steps=sampling.steps)
        self._not_kept: LamsearchError | None = None
        self._realignment = anchor.realign()

    def __exit__(self, *_: object) -> None:
        self._realignment.remove()

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of those images of an evaluation that it does not have yet."""
        queue = ShardQueue[Batch](
            wanted_images(evaluation), self._batch_size, done=evaluation.scores
        )
        while (shard := queue.take()) is not None:
            scored = self.score(evaluation.lam, shard.image_ids)
            if isinstance(scored, Batch):
                queue.complete(shard, scored)
                yield from queue.due()
                if self._not_kept is not None:  # only now that the scores are stored
                    raise self._not_kept
            else:
                queue.halve(shard, scored.reason)
                self._batch_size = queue.size

    def score(self, lam: float, image_ids: Sequence[int]) -> Batch | OutOfMemory:
        """Return the scores of images that are generated in one call of the pipeline."""
        self._realign(lam)
        planned = [self._plan[i] for i in image_ids]
        began = time.perf_counter()
        try:
            videos = self._generate(planned)
        except deradiff.InvalidMixtureError as error:
            reason = "no mixture exists there: the models' variances differ too much for this lam"
            raise NoScoreError(reason, lam) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = first_line(error)
        else:
            scores = _scores(self._panel, videos, [image.prompt for image in planned])
            images = [None if video is None else video[len(video) // 2] for video in videos]
            self._show(lam, image_ids, images)
            return Batch(
                list(image_ids),
                scores.objective.tolist(),
                tracked={name: row.tolist() for name, row in scores.tracked.items()},
                plan_size=len(self._plan),
                statistics=image_statistics(images),
                seconds=time.perf_counter() - began,
            )
        # Out of the handler: its traceback would keep the failed call's tensors alive.
        free_memory()
        return OutOfMemory(reason)

    def _realign(self, lam: float) -> None:
        steps, realignment = self._sampling.aligned_steps, self._realignment
        if steps is None:
            realignment.lam = lam
        else:
            realignment.lam = first_steps(lam, steps, lambda: realignment.step_index)

    def _show(self, lam: float, ids: Sequence[int], images: Sequence[Image | None]) -> None:
        if self._on_images is None:
            return
        try:
            self._on_images(lam, ids, images)
        except LamsearchError as error:
            self._not_kept = error

    def _generate(self, planned: Sequence[PlannedImage]) -> list[Video | None]:
        try:
            result = self._anchor.pipe(**self._arguments(planned))
        except deradiff.InexactMixtureError as error:
            raise SettingsError(f"these models cannot be mixed exactly: {error}") from error
        self._say_way()
        videos = frames_of(result, len(planned))
        blocked = getattr(result, "nsfw_content_detected", None) or [False] * len(planned)
        return [
            None
            if unsafe or not all(map(is_usable, video))
            else VaeImageProcessor.numpy_to_pil(video)
            for video, unsafe in zip(videos, blocked, strict=True)
        ]

    def _arguments(self, planned: Sequence[PlannedImage]) -> dict[str, Any]:
        """Return what the pipeline is called with."""
        sampling = self._sampling
        given = {
            "guidance_scale": sampling.guidance_scale,
            "height": sampling.height,
            "width": sampling.width,
            "num_frames": sampling.frames,
        }
        return {
            **self._prompts.arguments(planned),
            **{key: value for key, value in given.items() if value is not None},
            "num_inference_steps": sampling.steps,
            "generator": [torch.Generator().manual_seed(image.seed) for image in planned],
            "output_type": "np",
        }

    def _say_way(self) -> None:
        way = self._realignment.way
        if way is not None and way != self._way and self._on_way is not None:
            self._on_way(way)
        self._way = way or self._way


def wanted_images(evaluation: Evaluation) -> list[int]:
    """Return the ids of all images of an evaluation, in increasing order."""
    if evaluation.images is None:
        raise ValueError(f"evaluation {evaluation.number} names no images to generate")
    return [i for start, stop in evaluation.images for i in range(start, stop)]


def _scores(panel: Panel, videos: Sequence[Video | None], prompts: Sequence[str]) -> PanelScores:
    """Return the scores of videos: the means of their frames' scores."""
    counts = [1 if video is None else len(video) for video in videos]
    frames: list[Image | None] = []
    for video in videos:
        frames += [None] if video is None else video
    scores = panel.score(frames, np.repeat(prompts, counts).tolist())
    starts = np.cumsum([0, *counts[:-1]])

    def means(row: NDArray[np.float64]) -> NDArray[np.float64]:
        totals: NDArray[np.float64] = np.add.reduceat(row, starts) / counts
        return totals

    return PanelScores(
        means(scores.objective), {name: means(row) for name, row in scores.tracked.items()}
    )
