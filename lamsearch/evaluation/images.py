"""λ + image plan → scores, batch by batch: the only bridge to deradiff."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL.Image import Image

import deradiff
from lamsearch.config.settings import SamplingSettings
from lamsearch.errors import EvaluationError, SettingsError
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.prompt_encoder import Prompts
from lamsearch.evaluation.step_schedule import first_steps
from lamsearch.rewards import Panel
from lamsearch.rewards.panel import PanelScores
from lamsearch.study.records import Batch, Evaluation

OnImages = Callable[[float, Sequence[int], Sequence[Image | None]], None]
"""Takes λ, image ids, and images (of a video the middle frame); a missing image is None."""

OnWay = Callable[[str], None]
"""Takes how the models are mixed, in words."""

Video = list[Image]
"""The frames of a video; an image is one frame."""

_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


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
        SettingsError: If there is a negative prompt and the pipeline takes none; from `batches`, if
            no way to mix the models is exact.
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
        self._realignment = anchor.realign()

    def __exit__(self, *_: object) -> None:
        self._realignment.remove()

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of those images of an evaluation that it does not have yet."""
        steps, lam = self._sampling.aligned_steps, evaluation.lam
        realignment = self._realignment
        if steps is None:
            realignment.lam = lam
        else:
            realignment.lam = first_steps(lam, steps, lambda: realignment.step_index)
        if evaluation.images is None:
            raise ValueError(f"evaluation {evaluation.number} names no images to generate")
        ids = [i for start, stop in evaluation.images for i in range(start, stop)]
        start = 0
        while start < len(ids):
            planned = ids[start : start + self._batch_size]
            todo = [self._plan[i] for i in planned if i not in evaluation.scores]
            batch = self._score(evaluation.lam, todo) if todo else None
            if batch is not None:
                yield batch
            if batch is not None or not todo:
                start += len(planned)

    def _score(self, lam: float, planned: Sequence[PlannedImage]) -> Batch | None:
        """Return a scored batch; None where memory ran out, and the batch size is now halved."""
        began = time.perf_counter()
        try:
            videos = self._generate(planned)
            scores = _scores(self._panel, videos, [image.prompt for image in planned])
        except RuntimeError as error:
            if not any(sign in str(error) for sign in _MEMORY_SIGNS):
                raise
            reason = str(error)
        else:
            ids = [image.image_id for image in planned]
            if self._on_images is not None:
                self._on_images(lam, ids, [None if v is None else v[len(v) // 2] for v in videos])
            tracked = {name: row.tolist() for name, row in scores.tracked.items()}
            seconds = time.perf_counter() - began
            return Batch(ids, scores.objective.tolist(), seconds, tracked, len(self._plan))
        # Out of the handler: its traceback would keep the failed call's tensors alive.
        self._shrink(len(planned), reason)
        return None

    def _shrink(self, failed: int, reason: str) -> None:
        if failed == 1:
            raise EvaluationError(
                f"out of memory with a single image ({reason.splitlines()[0]}): use a smaller "
                "dtype or image size"
            )
        self._batch_size = (min(failed, self._batch_size) + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _generate(self, planned: Sequence[PlannedImage]) -> list[Video | None]:
        sampling, pipe = self._sampling, self._anchor.pipe
        given = {
            "guidance_scale": sampling.guidance_scale,
            "height": sampling.height,
            "width": sampling.width,
            "num_frames": sampling.frames,
        }
        try:
            result = pipe(
                **self._prompts.arguments(planned),
                **{key: value for key, value in given.items() if value is not None},
                num_inference_steps=sampling.steps,
                generator=[torch.Generator().manual_seed(image.seed) for image in planned],
                output_type="np",
            )
        except deradiff.InexactMixtureError as error:
            raise SettingsError(f"these models cannot be mixed exactly: {error}") from error
        self._say_way()
        videos = _frames(result)
        blocked = getattr(result, "nsfw_content_detected", None) or [False] * len(planned)
        return [
            None
            if unsafe or not all(map(_is_usable, video))
            else VaeImageProcessor.numpy_to_pil(video)
            for video, unsafe in zip(videos, blocked, strict=True)
        ]

    def _say_way(self) -> None:
        way = self._realignment.way
        if way is not None and way != self._way and self._on_way is not None:
            self._on_way(way)
        self._way = way or self._way


def _frames(result: Any) -> NDArray[np.float32]:
    """Return generated pixels, (B, frames, h, w, c); an image is one frame."""
    if (videos := getattr(result, "frames", None)) is not None:
        return np.asarray(videos)
    return np.asarray(result.images)[:, None]


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


def _is_usable(pixels: NDArray[np.float32]) -> bool:
    """Tell a picture (h, w, c) from one that is not finite, or of one colour, such as black."""
    return bool(np.isfinite(pixels).all()) and np.ptp(pixels, axis=(0, 1)).max() > 1 / 255
