"""HPS v2: a CLIP ViT-H-14 tuned on human preferences (arXiv 2306.09341)."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lamsearch.errors import RewardError, first_line
from lamsearch.rewards.base import Scores
from lamsearch.rewards.clip import processor_of
from lamsearch.rewards.dual_encoder import (
    DualEncoder,
    check_end_token,
    load_model,
    load_processor,
)
from lamsearch.rewards.open_clip_weights import load_open_clip

if TYPE_CHECKING:
    import torch

HPS_V2 = "xswu/HPSv2"
HPS_V2_CHECKPOINT = "HPS_v2_compressed.pt"


class HPSReward:
    """HPS as a cosine, about 0.29 for SDXL.

    Unlike CLIP, HPS sees the whole of a non-square image: it is padded to a square, not cropped.
    For an open_clip checkpoint, texts are cleaned as open_clip cleans them, which needs the extra
    `hps` (ftfy).

    Args:
        model: A transformers folder, an open_clip checkpoint, or a hub id of either.
        processor: Path or hub id of the tokenizer and image processor (and, for an open_clip
            checkpoint, of the architecture's configuration); by default the model's folder if it
            holds them, else `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`.
        checkpoint: File name in a folder or hub repository of open_clip checkpoints. The default
            is v2.0, which arXiv 2601.20198 reports; v2.1 is `HPS_v2.1_compressed.pt`, and its
            scores are not comparable.
        device: Where the model runs.
        batch_size: Images per forward pass.

    Raises:
        RewardError: If one cannot be loaded, they do not belong together, or ftfy is needed and
            not installed.
    """

    name = "hps"
    scale = "cosine"

    def __init__(
        self,
        model: str | Path = HPS_V2,
        processor: str | Path | None = None,
        *,
        checkpoint: str | None = None,
        device: "str | torch.device" = "cpu",
        batch_size: int = 32,
    ):
        processor = processor or processor_of(model)
        tokenizer, image_processor = load_processor(processor)
        file = _checkpoint_file(model, checkpoint)
        clean = text_cleaner() if file else None
        if file:
            loaded = load_open_clip(file, processor, device=device)
        else:
            loaded = load_model(model, device)
        check_end_token(loaded, tokenizer)
        side = loaded.config.vision_config.image_size
        self.encoder = DualEncoder(
            loaded,
            tokenizer,
            image_processor,
            batch_size,
            prepare=lambda image: pad_to_square(image, side),
            clean=clean,
        )

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the cosine of each image with its own prompt, (B,) float32 in [-1, 1].

        Raises:
            RewardError: If the numbers of images and prompts differ.
        """
        return self.encoder.cosine(images, prompts)


def text_cleaner() -> Callable[[str], str]:
    """Return open_clip's cleaning of texts: it repairs broken Unicode and decodes HTML entities.

    Raises:
        RewardError: If ftfy, of the extra `hps`, is not installed.
    """
    try:
        from ftfy import fix_text
    except ImportError as error:
        raise RewardError(
            "an open_clip checkpoint of HPS needs the extra hps: pip install 'lamsearch[hps]'"
        ) from error
    # Twice, as in open_clip: captions from the web are often escaped twice.
    return lambda text: html.unescape(html.unescape(fix_text(text))).strip()


def pad_to_square(image: Image.Image, side: int) -> Image.Image:
    """Return the image scaled to a longer edge of `side` pixels, centred on a black square."""
    scale = side / max(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    square = Image.new("RGB", (side, side))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return square


def _checkpoint_file(model: str | Path, checkpoint: str | None) -> Path | None:
    """Return the open_clip checkpoint to load, or None for a transformers folder or repository."""
    if Path(model).is_file():
        return Path(model)
    if checkpoint is None:
        checkpoint = HPS_V2_CHECKPOINT if str(model) == HPS_V2 else None
    if checkpoint is None:
        return None
    if Path(model).is_dir():
        return Path(model) / checkpoint
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(model), checkpoint))
    except (OSError, ValueError) as error:
        problem = f"cannot fetch '{checkpoint}' of '{model}'"
        raise RewardError(f"{problem}: {first_line(error)}") from error
