"""LAION's aesthetic predictors: a linear head on the image embedding of CLIP ViT-L/14."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lamsearch.errors import RewardError
from lamsearch.rewards.base import Scores
from lamsearch.rewards.checkpoint_files import hub_file, read_checkpoint
from lamsearch.rewards.clip import load_encoder, processor_of

if TYPE_CHECKING:
    from torch import device as Device  # noqa: N812

CLIP_VIT_L_14 = "openai/clip-vit-large-patch14"
LAION_V2 = "trl-lib/ddpo-aesthetic-predictor/aesthetic-model.pth"
"""A copy on the hub of `sac+logos+ava1-l14-linearMSE.pth`."""

_LINEAR = ("",)
# The modules between them are dropouts. A head with activations has other indices.
_LAYERS = ("layers.0.", "layers.2.", "layers.4.", "layers.6.", "layers.7.")


class AestheticReward:
    """LAION's aesthetic score, about 1 to 10; it ignores the prompt.

    The unit embedding of the image goes through the layers of the head, which are all linear.

    Args:
        model: Path or hub id of CLIP ViT-L/14 for transformers, or a single file of its weights.
        processor: Path or hub id of the tokenizer and image processor; by default the model's if
            it has them, else `openai/clip-vit-large-patch14`.
        head: The head as a `.safetensors` or `.pth` file, or as `owner/name/file` on the hub. It
            has the five layers of `sac+logos+ava1-l14-linearMSE.pth`, the default, or the one of
            `sa_0_4_vit_l_14_linear.pth`; scores of different heads are not comparable.
        use_safetensors: Whether a transformers model is loaded from safetensors files only.
        device: Where the model runs.
        batch_size: Images per forward pass.

    Raises:
        RewardError: If one cannot be loaded, or they do not belong together.
    """

    name = "aesthetic"
    scale = "LAION aesthetic score"

    def __init__(
        self,
        model: str | Path = CLIP_VIT_L_14,
        processor: str | Path | None = None,
        *,
        head: str | Path = LAION_V2,
        use_safetensors: bool = True,
        device: "str | Device" = "cpu",
        batch_size: int = 32,
    ):
        self.encoder = load_encoder(
            model,
            processor or (processor_of(model, CLIP_VIT_L_14) if Path(model).exists() else model),
            use_safetensors=use_safetensors,
            device=device,
            batch_size=batch_size,
        )
        self.head = load_head(head, self.encoder.model.config.projection_dim, device=device)

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides the scores besides the model: a digest of the head."""
        digest = hashlib.sha256()
        for weight, bias in self.head:
            digest.update(weight.cpu().numpy().tobytes() + bias.cpu().numpy().tobytes())
        return {"head": digest.hexdigest()[:16]}

    @torch.inference_mode()
    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the aesthetic score of each image, (B,) float32, about 1 to 10."""
        if not images:
            return np.zeros(0, dtype=np.float32)
        x = self.encoder.embed_images(images)
        for weight, bias in self.head:
            x = torch.nn.functional.linear(x, weight, bias)
        scores: Scores = x.squeeze(-1).cpu().numpy()
        return scores


def load_head(
    head: str | Path, width: int, *, device: "str | Device" = "cpu"
) -> list[tuple[Tensor, Tensor]]:
    """Load the linear layers of a head as (weight, bias), in float32.

    Args:
        head: A file, or `owner/name/file` on the hub.
        width: Size of the embedding that the head reads.
        device: Where the layers go.

    Raises:
        RewardError: If it cannot be read, is no linear head, or reads another embedding.
    """
    state = read_checkpoint(_head_file(head))
    prefixes = _LINEAR if "weight" in state else _LAYERS
    expected = {prefix + kind for prefix in prefixes for kind in ("weight", "bias")}
    if odd := sorted(expected ^ state.keys()):
        raise RewardError(
            f"'{head}' is none of LAION's linear heads: {len(odd)} weights differ, such as "
            f"{odd[0]}; heads with activations are not supported"
        )
    layers = [
        (state[f"{prefix}weight"].float().to(device), state[f"{prefix}bias"].float().to(device))
        for prefix in prefixes
    ]
    given = [width]
    for weight, bias in layers:
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != given[-1]:
            problem = f"a layer of shape {tuple(weight.shape)} follows {given[-1]} features"
            raise RewardError(f"'{head}' does not fit the model: {problem}")
        given.append(weight.shape[0])
    if given[-1] != 1:
        raise RewardError(f"'{head}' gives {given[-1]} values per image, expected one")
    return layers


def _head_file(head: str | Path) -> Path:
    if Path(head).is_file():
        return Path(head)
    repository, _, name = str(head).rpartition("/")
    if repository.count("/") != 1 or Path(head).is_absolute():
        raise RewardError(f"no head '{head}'; expected a file, or 'owner/name/file' on the hub")
    return hub_file(repository, name)
