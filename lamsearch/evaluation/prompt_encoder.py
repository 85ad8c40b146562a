"""Encodes each prompt once per search, where a pipeline's embeddings have a fixed length."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lamsearch.errors import SettingsError
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.prompt_embeddings import Names, embedding_names, encode

_ENCODING_BATCH = 32


class Prompts:
    """The prompts of a plan, as arguments for the pipeline's call.

    Args:
        pipe: The pipeline. Where its call takes embeddings of a fixed length, as of CLIP, it gets
            them, each distinct prompt encoded once, when it is first needed, in batches that only
            depend on the plan; any other pipeline gets the texts.
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
        self._pipe, self._negative_prompt, self._as_text = pipe, negative_prompt, as_text
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

    @cached_property
    def _names(self) -> Names | None:
        if self._as_text:
            return None
        if self._negative_prompt is not None:
            takes = getattr(self._pipe, "encode_prompt", None)
            if takes is None or "negative_prompt" not in inspect.signature(takes).parameters:
                return None
        return embedding_names(self._pipe, self._distinct)

    def _embeddings(self, prompt: str, names: Names) -> dict[str, Tensor]:
        """Return a prompt's embeddings; encode its whole batch if they are missing."""
        if prompt not in self._rows:
            start = self._places[prompt] // _ENCODING_BATCH * _ENCODING_BATCH
            self._encode(self._distinct[start : start + _ENCODING_BATCH], names)
        return self._rows[prompt]

    def _encode(self, batch: list[str], names: Names) -> None:
        negative = self._negative_prompt
        given = {} if negative is None else {"negative_prompt": [negative] * len(batch)}
        results = encode(self._pipe, batch, **given)
        for i, prompt in enumerate(batch):
            self._rows[prompt] = {
                name: result[i].cpu() for name, result in zip(names, results, strict=False)
            }
