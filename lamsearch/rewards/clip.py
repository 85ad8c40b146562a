"""CLIP score: the cosine of image and prompt under a CLIP model (arXiv 2103.00020)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lamsearch.rewards.base import Scores
from lamsearch.rewards.checkpoint_files import checkpoint_file
from lamsearch.rewards.dual_encoder import (
    DualEncoder,
    check_end_token,
    load_model,
    load_processor,
)
from lamsearch.rewards.open_clip_weights import load_open_clip, text_cleaner

if TYPE_CHECKING:
    import torch

CLIP_VIT_H_14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


class CLIPReward:
    """Cosine of image and prompt in [-1, 1], without the logit scale of 100 or a factor of 2.5.

    The default model is that of the CLIP scores in arXiv 2601.20198, which are about 0.37.

    Args:
        model: A transformers folder, an open_clip checkpoint, or a hub id of either. Texts for an
            open_clip checkpoint are cleaned as open_clip does, which needs the extra `hps` (ftfy).
        processor: Path or hub id of the tokenizer and image processor (and, for an open_clip
            checkpoint, of the architecture's configuration); by default the model's if it has
            them, else `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`.
        checkpoint: File name of an open_clip checkpoint in the folder or hub repository.
        use_safetensors: Whether a transformers model is loaded from safetensors files only.
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
        checkpoint: str | None = None,
        use_safetensors: bool = True,
        device: "str | torch.device" = "cpu",
        batch_size: int = 32,
    ):
        file = checkpoint_file(model, checkpoint)
        beside = processor_of(model) if file and Path(model).exists() else model
        self.encoder = load_encoder(
            file or model,
            processor or beside,
            use_safetensors=use_safetensors,
            device=device,
            batch_size=batch_size,
        )

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the cosine of each image with its own prompt, (B,) float32 in [-1, 1].

        Raises:
            RewardError: If the numbers of images and prompts differ.
        """
        return self.encoder.cosine(images, prompts)


def load_encoder(
    model: str | Path,
    processor: str | Path,
    *,
    use_safetensors: bool = True,
    device: "str | torch.device" = "cpu",
    batch_size: int = 32,
) -> DualEncoder:
    """Load a model of images and texts and its preprocessing.

    Args:
        model: Path or hub id of a transformers model, or a single file, such as a checkpoint of
            open_clip.
        processor: Path or hub id of the tokenizer and image processor.
        use_safetensors: Whether a transformers model is loaded from safetensors files only.
        device: Where the model runs.
        batch_size: Images or texts per forward pass.

    Raises:
        RewardError: If one cannot be loaded, or they do not belong together.
    """
    tokenizer, image_processor = load_processor(processor)
    is_file = Path(model).is_file()
    clean = text_cleaner() if is_file else None
    loaded = (
        load_open_clip(Path(model), processor, device=device)
        if is_file
        else load_model(model, device, use_safetensors=use_safetensors)
    )
    check_end_token(loaded, tokenizer)
    return DualEncoder(loaded, tokenizer, image_processor, batch_size, clean=clean)


def processor_of(model: str | Path, default: str = CLIP_VIT_H_14) -> str | Path:
    """Return the folder of a local model if tokenizer and image processor are in it.

    Args:
        model: Path or hub id of the model. Beside a single file there must be its configuration.
        default: What is returned otherwise.
    """
    is_file = Path(model).is_file()
    folder = Path(model).parent if is_file else Path(model)
    needed = [IMAGE_PROCESSOR_FILES, TOKENIZER_FILES, *([("config.json",)] if is_file else [])]
    has_all = all(any((folder / name).is_file() for name in names) for names in needed)
    if not has_all:
        return default
    return folder if is_file else model
