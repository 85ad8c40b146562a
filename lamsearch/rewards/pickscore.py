"""PickScore: a CLIP ViT-H-14 tuned on the preferences of Pick-a-Pic (arXiv 2305.01569)."""

from pathlib import Path
from typing import TYPE_CHECKING

from lamsearch.rewards.clip import CLIPReward, processor_of

if TYPE_CHECKING:
    import torch

PICKSCORE_V1 = "yuvalkirstain/PickScore_v1"


class PickScoreReward(CLIPReward):
    """PickScore as a cosine, about 0.23 for SDXL; elsewhere reported ×100 (23) or ×100/26 (0.9).

    Args:
        model: A transformers folder, an open_clip checkpoint, or a hub id of either.
        processor: Path or hub id of the tokenizer and image processor; by default the model's
            folder if it holds both, else `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`.
        checkpoint: File name of an open_clip checkpoint in the folder or hub repository.
        use_safetensors: Whether a transformers model is loaded from safetensors files only.
        device: Where the model runs.
        batch_size: Images per forward pass.

    Raises:
        RewardError: If one cannot be loaded, or they do not belong together.
    """

    name = "pickscore"

    def __init__(
        self,
        model: str | Path = PICKSCORE_V1,
        processor: str | Path | None = None,
        *,
        checkpoint: str | None = None,
        use_safetensors: bool = True,
        device: "str | torch.device" = "cpu",
        batch_size: int = 32,
    ):
        super().__init__(
            model,
            processor or processor_of(model),
            checkpoint=checkpoint,
            use_safetensors=use_safetensors,
            device=device,
            batch_size=batch_size,
        )
