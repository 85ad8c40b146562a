"""λ + image plan → scores, batch by batch: the only bridge to deradiff."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

import deradiff
from lamsearch.errors import EvaluationError, SettingsError
from lamsearch.prompts import PlannedImage, plan_hash
from lamsearch.rewards import CheckedReward
from lamsearch.settings import AnchorSettings, SamplingSettings
from lamsearch.study import Batch

OnImages = Callable[[float, Sequence[int], Sequence[Image | None]], None]
"""Takes λ, image ids, and images; a missing image is None."""

# What `encode_prompt` returns, by the number of its results: Stable Diffusion, Flux, SDXL and SD3.
_EMBEDDINGS = {
    2: ("prompt_embeds", "negative_prompt_embeds"),
    3: ("prompt_embeds", "pooled_prompt_embeds"),
    4: (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
}
_ENCODING_BATCH = 32


def load_anchor(settings: AnchorSettings, device: str) -> deradiff.Anchor:
    """Load an anchor onto a device.

    Raises:
        SettingsError: If what the settings name cannot be loaded or has no effect.
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
    """Generates the plan's images at any λ and scores them.

    Image i has its own prompt, seed and CPU generator, so that neither the batch size nor the
    order of work nor a restart changes a draw. Prompts are encoded once.

    Args:
        anchor: The pipeline and its aligned model; realigned until `close` or the end of `with`.
        plan: The images.
        reward: Scores them.
        sampling: How they are sampled.
        batch_size: Images in one call of the pipeline; halved whenever memory runs out.
        on_images: Called with each batch before its scores are returned.
    """

    def __init__(
        self,
        anchor: deradiff.Anchor,
        plan: Sequence[PlannedImage],
        reward: CheckedReward,
        *,
        sampling: SamplingSettings,
        batch_size: int,
        on_images: OnImages | None = None,
    ) -> None:
        self._anchor, self._plan, self._reward = anchor, plan, reward
        self._sampling, self._batch_size = sampling, batch_size
        self._on_images = on_images
        self._embeddings = _encode(anchor.pipe, plan, sampling.negative_prompt)
        self._realignment = anchor.realign()

    @property
    def images(self) -> int:
        """Images of one evaluation."""
        return len(self._plan)

    def batches(self, lam: float, done: Collection[int] = ()) -> Iterator[Batch]:
        """Yield the scores at λ of all planned images that are not done, batch by batch."""
        self._realignment.lam = lam
        start = 0
        while start < len(self._plan):
            batch = self._plan[start : start + self._batch_size]
            start += len(batch)
            todo = [image for image in batch if image.image_id not in done]
            if todo:
                yield from self._score(lam, todo)

    def __exit__(self, *_: object) -> None:
        self._realignment.remove()

    def _score(self, lam: float, planned: Sequence[PlannedImage]) -> Iterator[Batch]:
        began = time.perf_counter()
        try:
            images = self._generate(planned)
            scores = self._score_images(images, [image.prompt for image in planned])
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            for half in self._halves(planned, error):
                yield from self._score(lam, half)
            return
        ids = [image.image_id for image in planned]
        if self._on_images is not None:
            self._on_images(lam, ids, images)
        yield Batch(ids, scores.tolist(), time.perf_counter() - began)

    def _halves(
        self, planned: Sequence[PlannedImage], error: BaseException
    ) -> tuple[Sequence[PlannedImage], Sequence[PlannedImage]]:
        """Split a batch that memory ran out for, and make the later ones as small."""
        if len(planned) == 1:
            raise EvaluationError(
                "out of memory with a single image: use a smaller dtype or image size"
            ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = (len(planned) + 1) // 2
        self._batch_size = min(self._batch_size, half)
        return planned[:half], planned[half:]

    def _generate(self, planned: Sequence[PlannedImage]) -> list[Image | None]:
        sampling, pipe = self._sampling, self._anchor.pipe
        given = {
            "guidance_scale": sampling.guidance_scale,
            "height": sampling.height,
            "width": sampling.width,
        }
        result = pipe(
            **self._prompts(planned),
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

    def _prompts(self, planned: Sequence[PlannedImage]) -> dict[str, Any]:
        if self._embeddings is None:
            prompts: dict[str, Any] = {"prompt": [image.prompt for image in planned]}
            if self._sampling.negative_prompt is not None:
                prompts["negative_prompt"] = [self._sampling.negative_prompt] * len(planned)
            return prompts
        rows = [self._embeddings[image.prompt] for image in planned]
        device = self._anchor.pipe.device
        return {key: torch.stack([row[key] for row in rows]).to(device) for key in rows[0]}

    def _score_images(
        self, images: Sequence[Image | None], prompts: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return (B,) scores; NaN where there is no image."""
        scores = np.full(len(images), np.nan)
        present = [i for i, image in enumerate(images) if image is not None]
        if present:
            given = [image for image in images if image is not None]
            scores[present] = self._reward.score(given, [prompts[i] for i in present])
        return scores

    def manifest(self) -> dict[str, Any]:
        """Return what the scores depend on, as JSON."""
        sampling, pipe = self._sampling, self._anchor.pipe
        return {
            "beta": self._anchor.beta,
            "weights": self._anchor.fingerprint(),
            "pipeline": type(pipe).__name__,
            "scheduler": type(pipe.scheduler).__name__,
            "scheduler_config": {
                key: value for key, value in sorted(pipe.scheduler.config.items()) if key[0] != "_"
            },
            "steps": sampling.steps,
            "guidance_scale": sampling.guidance_scale,
            "negative_prompt": sampling.negative_prompt,
            "size": [sampling.height, sampling.width],
            "dtype": sampling.dtype,
            "plan": plan_hash(self._plan),
            "reward_scale": self._reward.scale,
            "reward_weights": _reward_fingerprint(self._reward),
            "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        }


def _encode(
    pipe: Any, plan: Sequence[PlannedImage], negative_prompt: str | None
) -> dict[str, dict[str, Tensor]] | None:
    """Return each prompt's embeddings on the CPU; None where the pipeline has its own way."""
    if not hasattr(pipe, "encode_prompt"):
        return None
    prompts = list(dict.fromkeys(image.prompt for image in plan))
    rows: dict[str, dict[str, Tensor]] = {}
    for start in range(0, len(prompts), _ENCODING_BATCH):
        batch = prompts[start : start + _ENCODING_BATCH]
        named = _encode_batch(pipe, batch, negative_prompt)
        if named is None:
            return None
        for i, prompt in enumerate(batch):
            rows[prompt] = {key: value[i].cpu() for key, value in named.items()}
    return rows


@torch.no_grad()
def _encode_batch(
    pipe: Any, prompts: Sequence[str], negative_prompt: str | None
) -> dict[str, Tensor] | None:
    takes = inspect.signature(pipe.encode_prompt).parameters
    given = {
        "prompt": list(prompts),
        "prompt_2": None,
        "prompt_3": None,
        "device": pipe.device,
        "num_images_per_prompt": 1,
        "do_classifier_free_guidance": True,
    }
    if negative_prompt is not None:
        given["negative_prompt"] = [negative_prompt] * len(prompts)
    results = pipe.encode_prompt(**{key: value for key, value in given.items() if key in takes})
    names = _EMBEDDINGS.get(len(results), ())
    call = inspect.signature(type(pipe).__call__).parameters
    tensors = dict(zip(names, results, strict=False))
    known = names and all(name in call for name in names)
    batched = known and all(
        isinstance(tensor, Tensor) and len(tensor) == len(prompts) for tensor in tensors.values()
    )
    return tensors if batched else None


def _usable(pixels: NDArray[np.float32]) -> bool:
    """Tell a picture from one that is not finite, constant, or blacked out."""
    return bool(np.isfinite(pixels).all()) and float(np.ptp(pixels)) > 1 / 255


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _reward_fingerprint(reward: CheckedReward) -> str | None:
    model = getattr(getattr(reward.reward, "encoder", None), "model", None)
    return deradiff.fingerprint([model]) if isinstance(model, torch.nn.Module) else None
