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

    Unlike CLIP, HPS sees all of a non-square image: it is padded to a square, not cropped.
    An open_clip checkpoint gets its texts as open_clip would clean them, which needs the extra
    `hps` (ftfy).

    Args:
        model: a transformers folder, an open_clip checkpoint, or a hub id of either.
        processor: path or hub id of tokenizer and image processor (and, for an open_clip
            checkpoint, of the architecture's configuration); by default the model's folder where
            that holds them, else `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`.
        checkpoint: file name in the hub repository, if that holds open_clip checkpoints. By
            default v2.0, which arXiv 2601.20198 reports; v2.1 is `HPS_v2.1_compressed.pt`, and its
            scores are not comparable.
        device: where the model runs.
        batch_size: images in one forward pass.
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
        loaded = load_open_clip(file, processor, device) if file else load_model(model, device)
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
        """Returns the cosine of each image with its own prompt, (B,) float32."""
        return self.encoder.cosine(images, prompts)


def text_cleaner() -> Callable[[str], str]:
    """Returns open_clip's cleaning of texts: broken Unicode mended, HTML entities decoded.

    Raises:
        RewardError: ftfy, of the extra `hps`, is not installed.
    """
    try:
        from ftfy import fix_text
    except ImportError as error:
        raise RewardError(
            "an open_clip checkpoint of HPS needs the extra hps: pip install 'lamsearch[hps]'"
        ) from error
    # twice, as open_clip does: captions from the web are often escaped twice
    return lambda text: html.unescape(html.unescape(fix_text(text))).strip()


def pad_to_square(image: Image.Image, side: int) -> Image.Image:
    """Scales the longer edge to `side` pixels and pads the shorter with black, image centred."""
    scale = side / max(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    square = Image.new("RGB", (side, side))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return square


def _checkpoint_file(model: str | Path, checkpoint: str | None) -> Path | None:
    """Returns the open_clip checkpoint to load, None for a transformers folder or repository."""
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
