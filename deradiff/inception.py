"""InceptionV3's pool features, in which the Fréchet distance is the FID of the literature.

The network and its preprocessing are those of torch-fidelity (extra `fid`), which reproduces the
TensorFlow original to the last few digits; it fetches the weights, unless a file of them is named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

FEATURES = 2048
"""D of the pool features."""

_LAYER = str(FEATURES)


def inception_features(
    images: Sequence[Image],
    weights: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 50,
) -> NDArray[np.float64]:
    """Return the pool features of images, for `frechet_distance` (FID, arXiv 1706.08500).

    Args:
        images: N images of any sizes; each is resized to 299 × 299 pixels as the FID does.
        weights: File of the weights as torch-fidelity publishes them; by default it fetches them.
        device: Where the network runs.
        batch_size: Images in one forward pass.

    Returns:
        (N, 2048).

    Raises:
        ImportError: If torch-fidelity is not installed.
        OSError: If the file cannot be read.
        ValueError: If it holds something else.
    """
    network = _network(weights).to(device)
    rows = [np.zeros((0, FEATURES))]
    with torch.inference_mode():
        for batch in _batches(images, batch_size):
            (found,) = network(batch.to(device))
            rows.append(found.double().cpu().numpy())
    return np.concatenate(rows)


def _network(weights: str | Path | None) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ModuleNotFoundError as error:
        raise ImportError(
            "InceptionV3's features need torch-fidelity: pip install 'lamsearch[fid]'"
        ) from error
    if weights is None:
        return FeatureExtractorInceptionV3("inception-v3-compat", [_LAYER])
    # Its loader would run code in the file; so it gets a copy that holds tensors only.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "weights.pth")
        try:
            torch.save(torch.load(weights, map_location="cpu", weights_only=True), copy)
            return FeatureExtractorInceptionV3(
                "inception-v3-compat", [_LAYER], feature_extractor_weights_path=str(copy)
            )
        except OSError:
            raise
        except Exception as error:
            raise ValueError(
                f"{weights} does not hold InceptionV3's weights, expected the file that "
                "torch-fidelity publishes"
            ) from error


def _batches(images: Sequence[Image], size: int) -> Iterator[torch.Tensor]:
    """Yield (B, 3, h, w) uint8, the images in their order; neighbours of one size together."""
    batch: list[torch.Tensor] = []
    for image in images:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        if batch and (len(batch) == size or batch[0].shape != pixels.shape):
            yield torch.stack(batch)
            batch = []
        batch.append(pixels)
    if batch:
        yield torch.stack(batch)
