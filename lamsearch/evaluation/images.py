"""λ + image plan → scores, batch by batch: the only bridge to deradiff."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

import deradiff
from lamsearch.config.settings import SamplingSettings
from lamsearch.errors import EvaluationError
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.prompt_encoder import Prompts
from lamsearch.rewards import Panel
from lamsearch.study.records import Batch, Evaluation

OnImages = Callable[[float, Sequence[int], Sequence[Image | None]], None]
"""Takes λ, image ids, and images; a missing image is None."""

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

    Raises:
        SettingsError: If there is a negative prompt and the pipeline takes none.
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
    ) -> None:
        self._anchor, self._plan, self._panel = anchor, plan, panel
        self._sampling, self._batch_size = sampling, batch_size
        self._on_images = on_images
        self._prompts = Prompts(
            anchor.pipe, plan, sampling.negative_prompt, as_text=anchor.has_own_condition
        )
        self._realignment = anchor.realign()

    def __exit__(self, *_: object) -> None:
        self._realignment.remove()

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of those images of an evaluation that it does not have yet."""
        self._realignment.lam = evaluation.lam
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
            images = self._generate(planned)
            scores = self._panel.score(images, [image.prompt for image in planned])
        except RuntimeError as error:
            if not any(sign in str(error) for sign in _MEMORY_SIGNS):
                raise
            reason = str(error)
        else:
            ids = [image.image_id for image in planned]
            if self._on_images is not None:
                self._on_images(lam, ids, images)
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

    def _generate(self, planned: Sequence[PlannedImage]) -> list[Image | None]:
        sampling, pipe = self._sampling, self._anchor.pipe
        given = {
            "guidance_scale": sampling.guidance_scale,
            "height": sampling.height,
            "width": sampling.width,
        }
        result = pipe(
            **self._prompts.arguments(planned),
            **{key: value for key, value in given.items() if value is not None},
            num_inference_steps=sampling.steps,
            generator=[torch.Generator().manual_seed(image.seed) for image in planned],
            output_type="np",
        )
        blocked = getattr(result, "nsfw_content_detected", None) or [False] * len(planned)
        return [
            None
            if unsafe or not _is_usable(pixels)
            else pipe.image_processor.numpy_to_pil(pixels)[0]
            for pixels, unsafe in zip(result.images, blocked, strict=True)
        ]


def _is_usable(pixels: NDArray[np.float32]) -> bool:
    """Tell a picture (h, w, c) from one that is not finite, or of one colour, such as black."""
    return bool(np.isfinite(pixels).all()) and np.ptp(pixels, axis=(0, 1)).max() > 1 / 255
