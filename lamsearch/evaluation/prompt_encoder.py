"""Encodes each prompt once per search, where a pipeline's embeddings have a fixed length."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamsearch.errors import SettingsError
from lamsearch.evaluation.image_plan import PlannedImage

# What `encode_prompt` returns, in order, as the pipeline's call takes it back; None is not needed.
_RESULTS: dict[str, tuple[str | None, ...]] = {
    "StableDiffusionPipeline": ("prompt_embeds", "negative_prompt_embeds"),
    "StableDiffusionXLPipeline": (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
    "FluxPipeline": ("prompt_embeds", "pooled_prompt_embeds", None),
}
_RESULTS["StableDiffusion3Pipeline"] = _RESULTS["StableDiffusionXLPipeline"]
_ENCODING_BATCH = 32


class Prompts:
    """The prompts of a plan, as arguments for the pipeline's call.

    Args:
        pipe: The pipeline. Stable Diffusion 1.x and 2.x, SDXL, SD3 and Flux get embeddings, each
            distinct prompt encoded once, when it is first needed, in batches that only depend on
            the plan; any other pipeline gets the texts.
        plan: The images.
        negative_prompt: One for all images, or None.
        as_text: Whether to leave the encoding to the pipeline, as where each model encodes the
            prompts for itself.

    Raises:
        SettingsError: If there is a negative prompt and the pipeline takes none.
    """

    def __init__(
        self,
        pipe: Any,
        plan: Sequence[PlannedImage],
        negative_prompt: str | None,
        *,
        as_text: bool = False,
    ) -> None:
        takes = inspect.signature(type(pipe).__call__).parameters
        if negative_prompt is not None and "negative_prompt" not in takes:
            raise SettingsError(
                f"negative_prompt given, but {type(pipe).__name__} takes none: leave it out"
            )
        self._pipe, self._negative_prompt = pipe, negative_prompt
        names = _RESULTS.get(type(pipe).__name__)
        can_encode = names is not None and not as_text and self._can_encode()
        self._names = names if can_encode else None
        self._distinct = list(dict.fromkeys(image.prompt for image in plan))
        self._places = {prompt: place for place, prompt in enumerate(self._distinct)}
        self._rows: dict[str, dict[str, Tensor]] = {}

    def arguments(self, planned: Sequence[PlannedImage]) -> dict[str, Any]:
        """Return the call's arguments for these images."""
        texts = [image.prompt for image in planned]
        if self._names is not None:
            rows = [self._embeddings(text, self._names) for text in texts]
            return {k: torch.stack([row[k] for row in rows]).to(self._pipe.device) for k in rows[0]}
        if self._negative_prompt is None:
            return {"prompt": texts}
        return {"prompt": texts, "negative_prompt": [self._negative_prompt] * len(texts)}

    def _can_encode(self) -> bool:
        takes = inspect.signature(self._pipe.encode_prompt).parameters
        return self._negative_prompt is None or "negative_prompt" in takes

    def _embeddings(self, prompt: str, names: Sequence[str | None]) -> dict[str, Tensor]:
        """Return a prompt's embeddings; encode its whole batch if they are missing."""
        if prompt not in self._rows:
            start = self._places[prompt] // _ENCODING_BATCH * _ENCODING_BATCH
            self._encode(self._distinct[start : start + _ENCODING_BATCH], names)
        return self._rows[prompt]

    @torch.no_grad()
    def _encode(self, batch: list[str], names: Sequence[str | None]) -> None:
        results = self._pipe.encode_prompt(**self._encoder_arguments(batch))
        named = [(n, r) for n, r in zip(names, results, strict=True) if n is not None]
        for i, prompt in enumerate(batch):
            self._rows[prompt] = {name: result[i].cpu() for name, result in named}

    def _encoder_arguments(self, batch: list[str]) -> dict[str, Any]:
        takes = inspect.signature(self._pipe.encode_prompt).parameters
        given = {
            "prompt": batch,
            "prompt_2": None,
            "prompt_3": None,
            "device": self._pipe.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": True,
        }
        if self._negative_prompt is not None:
            given["negative_prompt"] = [self._negative_prompt] * len(batch)
        return {key: value for key, value in given.items() if key in takes}
