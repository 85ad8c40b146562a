"""Images of the bundled world's family: the same prompts and seeds for every model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from examples.miniature.sampling import (
    Settings,
    as_pictures,
    load_pipeline,
    load_unet,
    sample_images,
)
from lamsearch.report.strip import Column, draw_strip

WORLD = Path(str(files("lamsearch") / "miniature"))


class FamilyImages:
    """Samples from the bundled anchors.

    Args:
        device: Where the models run.
        images: Number of images in a set.
    """

    def __init__(self, device: str, images: int) -> None:
        self._pipe, self._device = load_pipeline(WORLD / "reference").to(device), device
        prompts = (WORLD / "prompts.txt").read_text().splitlines()
        self.prompts = [prompts[i % len(prompts)] for i in range(images)]

    def draw(self, beta: int, lam: float, first_seed: int, images: int | None = None) -> np.ndarray:
        """Return images of an anchor at a λ, uint8 (images, h, w, 3)."""
        unet = load_unet(WORLD / "anchors" / f"beta{beta}" / "unet").to(self._device)
        prompts = self.prompts[:images]
        return sample_images(self._pipe, prompts, first_seed, Settings(lam), unet)


def write_strip(
    family: FamilyImages, beta: int, lams: list[float], file: Path, *, rows: int
) -> None:
    """Write a strip: a column per λ, a row per prompt, the same seed along a row."""
    columns = [
        Column(
            f"λ {lam:g}\n" + ("reference" if lam == 0 else f"β {beta / lam:.0f}"),
            as_pictures(family.draw(beta, lam, 0, images=rows)),
        )
        for lam in lams
    ]
    draw_strip(columns).save(file)
