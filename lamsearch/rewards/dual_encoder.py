"""Dual encoders: the cosine of an image's and a text's embedding in one space.

CLIP, PickScore, HPS and SigLIP are such models with different weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lamsearch.errors import RewardError, first_line
from lamsearch.rewards.base import Scores


@dataclass
class DualEncoder:
    """An image and a text encoder with their preprocessing.

    Attributes:
        model: Model with `get_image_features` and `get_text_features`, in float32 and evaluation
            mode.
        tokenizer: Tokenizer of the model.
        image_processor: Converts PIL images to the model's `pixel_values`.
        batch_size: Images or texts per forward pass.
        prepare: Applied to each RGB image before the image processor.
        clean: Applied to each text before the tokenizer.
    """

    model: Any
    tokenizer: Any
    image_processor: Any
    batch_size: int = 32
    prepare: Callable[[Image.Image], Image.Image] | None = None
    clean: Callable[[str], str] | None = None
    _texts: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def cosine(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the cosine of each image with its own prompt, (B,) float32 in [-1, 1].

        Raises:
            RewardError: If the numbers of images and prompts differ.
        """
        if len(images) != len(prompts):
            given = f"{len(images)} images but {len(prompts)} prompts given"
            raise RewardError(f"{given}, expected one prompt per image")
        if not images:
            return np.zeros(0, dtype=np.float32)
        products = self.embed_images(images) * self.embed_texts(prompts)
        scores: Scores = products.sum(dim=-1).cpu().numpy()
        return scores

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return unit embeddings, (B, D) float32 on the model's device."""
        return torch.cat([self._image_batch(batch) for batch in self._batches(images)])

    @torch.inference_mode()
    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """Return unit embeddings, (B, D) float32; each distinct text is encoded only once."""
        for prompt in prompts:
            # One by one: in a batch the last digits depend on the other texts, and with them on
            # which images a process happens to score first.
            if prompt not in self._texts:
                (self._texts[prompt],) = self._text_batch([prompt])
        return torch.stack([self._texts[prompt] for prompt in prompts])

    def tokenize(self, prompts: Sequence[str]) -> Any:
        """Return token ids and mask, (B, L), truncated to L tokens with the end token kept.

        Every text is padded to the model's length L, so that its embedding does not depend on its
        batch, and because SigLIP requires it.
        """
        longest = self.model.config.text_config.max_position_embeddings
        return self.tokenizer(
            [self.clean(prompt) for prompt in prompts] if self.clean else list(prompts),
            padding="max_length",
            truncation=True,
            max_length=min(longest, self.tokenizer.model_max_length),
            return_tensors="pt",
        )

    def _batches(self, items: Sequence[Any]) -> list[Sequence[Any]]:
        return [
            items[start : start + self.batch_size]
            for start in range(0, len(items), self.batch_size)
        ]

    def _image_batch(self, images: Sequence[Image.Image]) -> Tensor:
        rgb = [image.convert("RGB") for image in images]
        ready = [self.prepare(image) for image in rgb] if self.prepare else rgb
        inputs = self.image_processor(images=ready, return_tensors="pt").to(self.model.device)
        return _unit(self.model.get_image_features(**inputs).pooler_output)

    def _text_batch(self, prompts: Sequence[str]) -> Tensor:
        inputs = self.tokenize(prompts).to(self.model.device)
        return _unit(self.model.get_text_features(**inputs).pooler_output)


def _unit(features: Tensor) -> Tensor:
    """Return the features (B, D) scaled to length 1."""
    return torch.nn.functional.normalize(features, dim=-1)


def load_model(
    model: str | Path, device: str | torch.device, *, use_safetensors: bool = True
) -> Any:
    """Load a dual encoder in float32, whatever type its weights are stored in.

    Args:
        model: Path or hub id of a transformers model.
        device: Where the model runs.
        use_safetensors: Whether only safetensors files are loaded.

    Raises:
        RewardError: If it cannot be loaded, lacks weights, or is not a dual encoder.
    """
    from transformers import AutoModel

    try:
        loaded, found = AutoModel.from_pretrained(
            model,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True if use_safetensors else None,  # False would refuse safetensors
        )
    except (OSError, ValueError) as error:
        hint = "; use_safetensors = false also loads pickled weights" if use_safetensors else ""
        problem = f"cannot load the model '{model}': {first_line(error)}"
        raise RewardError(problem + hint * ("safetensors" in str(error))) from error
    if not (hasattr(loaded, "get_image_features") and hasattr(loaded, "get_text_features")):
        given = f"'{model}' is a {type(loaded).__name__}"
        raise RewardError(f"{given}, expected a model of images and texts such as CLIPModel")
    if missing := sorted(found["missing_keys"]):
        # transformers would draw them at random and only warn.
        raise RewardError(f"'{model}' lacks {len(missing)} of its weights, such as {missing[0]}")
    return loaded.to(device).eval().requires_grad_(False)


def load_processor(processor: str | Path) -> tuple[Any, Any]:
    """Load a tokenizer and an image processor.

    The image processor is the one based on PIL, with which the published scores were computed; the
    one based on torchvision differs by up to 0.015 per pixel.

    Args:
        processor: Path or hub id of both.

    Returns:
        The tokenizer and the image processor.

    Raises:
        RewardError: If one of them cannot be loaded.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(processor, trust_remote_code=False)
        auto: Any = AutoImageProcessor
        image_processor = auto.from_pretrained(processor, backend="pil", trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise RewardError(
            f"cannot load the processor '{processor}': {first_line(error)}"
        ) from error
    return tokenizer, image_processor


def check_end_token(model: Any, tokenizer: Any) -> None:
    """Raise unless a CLIP model finds the end token, where it reads a text's embedding.

    Otherwise the model would silently give every prompt the embedding of the start token.

    Raises:
        RewardError: If model and tokenizer have different end tokens.
    """
    config = model.config.text_config
    if config.model_type != "clip_text_model":
        return
    # transformers takes an eos_token_id of 2 for an old configuration: the end token then is the
    # largest id in the text.
    legacy = config.eos_token_id == 2
    if tokenizer.eos_token_id != (len(tokenizer) - 1 if legacy else config.eos_token_id):
        given = f"the model's text_config.eos_token_id is {config.eos_token_id}"
        given += " (the largest id)" if legacy else ""
        expected = f"the tokenizer's end token is {tokenizer.eos_token_id} of {len(tokenizer)}"
        raise RewardError(f"{given}, but {expected}; expected the tokenizer of this model")
