"""CLIP score: the cosine of image and prompt under a CLIP model (arXiv 2103.00020)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lamsearch.rewards.base import Scores
from lamsearch.rewards.dual_encoder import (
    DualEncoder,
    check_end_token,
    load_model,
    load_processor,
)

if TYPE_CHECKING:
    import torch

CLIP_VIT_H_14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


class CLIPReward:
    """Cosine of image and prompt, in [-1, 1], without the ×100 logit scale or a factor 2.5.

    The default is the model behind the CLIP scores of arXiv 2601.20198, about 0.37 there.

    Args:
        model: path or hub id of a transformers model with image and text features.
        processor: path or hub id of tokenizer and image processor; by default the model's.
        device: where the model runs.
        batch_size: images in one forward pass.
    """

    name = "clip"
    scale = "cosine"

    def __init__(
        self,
        model: str | Path = CLIP_VIT_H_14,
        processor: str | Path | None = None,
        *,
        device: "str | torch.device" = "cpu",
        batch_size: int = 32,
    ):
        self.encoder = load_encoder(model, processor or model, device, batch_size=batch_size)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Returns the cosine of each image with its own prompt, (B,) float32."""
        return self.encoder.cosine(images, prompts)


def load_encoder(
    model: str | Path, processor: str | Path, device: "str | torch.device", *, batch_size: int
) -> DualEncoder:
    """Loads a transformers model and its preprocessing.

    Raises:
        RewardError: one cannot be loaded, or they do not belong together.
    """
    tokenizer, image_processor = load_processor(processor)
    loaded = load_model(model, device)
    check_end_token(loaded, tokenizer)
    return DualEncoder(loaded, tokenizer, image_processor, batch_size)


def processor_of(model: str | Path) -> str | Path:
    """Returns a local model folder that holds a tokenizer and image processor, else ViT-H-14's."""
    has_both = all(
        any((Path(model) / name).is_file() for name in names)
        for names in (IMAGE_PROCESSOR_FILES, TOKENIZER_FILES)
    )
    return model if has_both else CLIP_VIT_H_14
