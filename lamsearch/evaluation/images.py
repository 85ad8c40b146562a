"""λ + image plan → scores, batch by batch: the only bridge to deradiff."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

import deradiff
from lamsearch.config.prompt_files import GROWING, PlannedImage, plan_hash
from lamsearch.config.settings import AnchorSettings, RewardSettings, SamplingSettings, Settings
from lamsearch.errors import EvaluationError, SettingsError
from lamsearch.evaluation.block_design import Schedule
from lamsearch.evaluation.prompt_encoder import Prompts
from lamsearch.rewards import CheckedReward, Panel
from lamsearch.study.records import Batch, Evaluation

OnImages = Callable[[float, Sequence[int], Sequence[Image | None]], None]
"""Takes λ, image ids, and images; a missing image is None."""

_SMALL_FILE_BYTES = 2_000_000
_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def load_anchor(settings: AnchorSettings, device: str) -> deradiff.Anchor:
    """Load an anchor onto a device.

    Raises:
        SettingsError: If what the settings name cannot be loaded, mixed, or has no effect.
    """
    sampling = settings.sampling
    options = deradiff.PipelineOptions(
        scheduler=sampling.scheduler,
        scheduler_config=sampling.scheduler_config,
        vae=sampling.vae,
        dtype=sampling.dtype,
        variant=settings.variant,
        use_safetensors=settings.use_safetensors,
    )
    try:
        return deradiff.load_anchor(
            settings.reference, settings.aligned, beta=settings.beta, options=options, device=device
        )
    except (deradiff.AnchorError, deradiff.InexactMixtureError) as error:
        raise SettingsError(f"anchor {settings.name}: {error}") from error


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
        schedule: Which of the images an evaluation sees; by default all of them.
        growing: Whether the plan may grow: the manifest then stands for its first `GROWING` images.
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
        schedule: Schedule | None = None,
        growing: bool = False,
        on_images: OnImages | None = None,
    ) -> None:
        self._anchor, self._plan, self._panel = anchor, plan, panel
        self._schedule = schedule or Schedule(len(plan), "fixed")
        self._sampling, self._batch_size = sampling, batch_size
        self._hashed = plan[:GROWING] if growing else plan
        self._on_images = on_images
        self._prompts = Prompts(anchor.pipe, plan, sampling.negative_prompt)
        self._realignment = anchor.realign()

    def __exit__(self, *_: object) -> None:
        self._realignment.remove()

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of all images of an evaluation that it has not yet, batch by batch."""
        self._realignment.lam = evaluation.lam
        own = evaluation.image_range
        ids = self._schedule.image_ids(evaluation.number) if own is None else range(*own)
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
            others = {name: row.tolist() for name, row in scores.others.items()}
            seconds = time.perf_counter() - began
            return Batch(ids, scores.objective.tolist(), seconds, others, len(self._plan))
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
            None if unsafe or not _usable(pixels) else pipe.image_processor.numpy_to_pil(pixels)[0]
            for pixels, unsafe in zip(result.images, blocked, strict=True)
        ]

    def manifest(self) -> dict[str, Any]:
        """Return what the images depend on, as JSON."""
        sampling, pipe = self._sampling, self._anchor.pipe
        config = {key: value for key, value in pipe.scheduler.config.items() if key[0] != "_"}
        return {
            "beta": self._anchor.beta,
            "weights": self._anchor.fingerprint(),
            "pipeline": type(pipe).__name__,
            "scheduler": {"class": type(pipe.scheduler).__name__, **config},
            "steps": sampling.steps,
            "guidance_scale": sampling.guidance_scale,
            "negative_prompt": sampling.negative_prompt,
            "size": [sampling.height, sampling.width],
            "dtype": sampling.dtype,
            "plan": plan_hash(self._hashed),
            "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        }


def panel_manifest(settings: Settings, panel: Panel) -> dict[str, Any]:
    """Return what the scores of given images depend on, as JSON; local files by their content."""
    facts = {
        name: _reward_facts(settings.reward(name), reward) for name, reward in panel.rewards.items()
    }
    plain = facts.pop(panel.objective.plain or "", {})
    return {
        "reward": panel.objective.text,
        **{f"reward_{key}": fact for key, fact in plain.items()},
        **{f"reward {name}": fact for name, fact in facts.items()},
    }


def _reward_facts(settings: RewardSettings, reward: CheckedReward) -> dict[str, Any]:
    model = getattr(getattr(reward.reward, "encoder", None), "model", None)
    return {
        "kind": settings.kind,
        "options": _by_content(settings.options),
        "scale": reward.scale,
        "weights": deradiff.fingerprint([model]) if model is not None else None,
    }


def _by_content(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace paths by a digest of their small files: a folder that moved is still the same."""
    digests = {}
    for key, value in options.items():
        path = Path(value) if isinstance(value, str) else None
        digests[key] = _digest(path) if path is not None and path.exists() else value
    return digests


def _digest(path: Path) -> str:
    """Digest names, sizes and, where small (tokenizers, configurations), contents of files."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            size = file.stat().st_size
            digest.update(f"{file.relative_to(path.parent).name} {size}".encode())
            digest.update(file.read_bytes() if size < _SMALL_FILE_BYTES else b"")
    return digest.hexdigest()[:16]


def _usable(pixels: NDArray[np.float32]) -> bool:
    """Tell a picture (h, w, c) from one that is not finite, or of one colour, such as black."""
    return bool(np.isfinite(pixels).all()) and np.ptp(pixels, axis=(0, 1)).max() > 1 / 255
