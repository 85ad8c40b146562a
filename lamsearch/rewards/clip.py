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
    """Cosine of image and prompt in [-1, 1], without the logit scale of 100 or a factor of 2.5.

    The default model is that of the CLIP scores in arXiv 2601.20198, which are about 0.37.

    Args:
        model: Path or hub id of a transformers model with image and text features.
        processor: Path or hub id of the tokenizer and image processor; by default the model's.
        device: Where the model runs.
        batch_size: Images per forward pass.

    Raises:
        RewardError: If one cannot be loaded, or they do not belong together.
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
        self.encoder = load_encoder(model, processor or model, device=device, batch_size=batch_size)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the cosine of each image with its own prompt, (B,) float32 in [-1, 1].

        Raises:
            RewardError: If the numbers of images and prompts differ.
        """
        return self.encoder.cosine(images, prompts)


def load_encoder(
    model: str | Path, processor: str | Path, *, device: "str | torch.device", batch_size: int
) -> DualEncoder:
    """Load a transformers model and its preprocessing.

    Args:
        model: Path or hub id of the model.
        processor: Path or hub id of the tokenizer and image processor.
        device: Where the model runs.
        batch_size: Images or texts per forward pass.

    Raises:
        RewardError: If one cannot be loaded, or they do not belong together.
    """
    tokenizer, image_processor = load_processor(processor)
    loaded = load_model(model, device)
    check_end_token(loaded, tokenizer)
    return DualEncoder(loaded, tokenizer, image_processor, batch_size)


def processor_of(model: str | Path) -> str | Path:
    """Return the model if it is a folder with a tokenizer and image processor, else ViT-H-14."""
    has_both = all(
        any((Path(model) / name).is_file() for name in names)
        for names in (IMAGE_PROCESSOR_FILES, TOKENIZER_FILES)
    )
    return model if has_both else CLIP_VIT_H_14
