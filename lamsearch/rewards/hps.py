"""HPS v2: a CLIP ViT-H-14 tuned on human preferences (arXiv 2306.09341)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lamsearch.rewards.base import Scores
from lamsearch.rewards.checkpoint_files import checkpoint_file
from lamsearch.rewards.clip import load_encoder, processor_of

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
        use_safetensors: Whether a transformers model is loaded from safetensors files only.
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
        use_safetensors: bool = True,
        device: "str | torch.device" = "cpu",
        batch_size: int = 32,
    ):
        if checkpoint is None and str(model) == HPS_V2:
            checkpoint = HPS_V2_CHECKPOINT
        self.encoder = load_encoder(
            checkpoint_file(model, checkpoint) or model,
            processor or processor_of(model),
            use_safetensors=use_safetensors,
            device=device,
            batch_size=batch_size,
        )
        side = self.encoder.model.config.vision_config.image_size
        self.encoder.prepare = lambda image: pad_to_square(image, side)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the cosine of each image with its own prompt, (B,) float32 in [-1, 1].

        Raises:
            RewardError: If the numbers of images and prompts differ.
        """
        return self.encoder.cosine(images, prompts)


def pad_to_square(image: Image.Image, side: int) -> Image.Image:
    """Return the image scaled to a longer edge of `side` pixels, centred on a black square."""
    scale = side / max(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    square = Image.new("RGB", (side, side))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return square
