"""Table 3: how far a hacked anchor's images are from a healthy model's, before and after.

    python -m examples.paper.reward_hacking --output DIR --images 500

The hacked anchors are realigned to the healthy strength, λ = β/2000. Distances are between sets of
images with other seeds. Features are the last hidden layer of a digit reader, which knows real
scans only and is trained first (DIR/digit_reader.safetensors), and the embeddings of the bundled
CLIP, which is what a real model's images would be compared in. Fréchet distances (arXiv 1706.08500)
need many more images than the features have dimensions; the unbiased MMD² of CMMD (arXiv
2401.09603) needs fewer. `floor` compares two sets of the healthy model itself; its MMD² may be a
little below 0, since both sets have the same prompts equally often.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from deradiff.distances import frechet_distance, maximum_mean_discrepancy
from examples.benchmarks.environment import environment
from examples.miniature.readers import Readers, train_digit_reader
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import as_pictures, as_tensor
from examples.paper.family_images import WORLD, FamilyImages
from lamsearch.agreement.table import Grid, markdown
from lamsearch.evaluation.loading import default_device
from lamsearch.rewards.clip import CLIPReward

HEALTHY, HACKED = 2000, (250, 500, 750)
HEALTHY_SEED, OTHER_SEED = 2_000_000, 3_000_000
RECIPE = Recipe()

Features: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Takes images (N, h, w, 3) and returns their features (N, D)."""


def digit_features(folder: Path) -> Features:
    """Return what gives the 96 hidden activations of the digit reader, trained if it is absent."""
    path = folder / "digit_reader.safetensors"
    if not path.is_file():
        train_digit_reader(RECIPE, path)
    hidden = Readers(path).model[:-1]

    @torch.inference_mode()
    def features(images: np.ndarray) -> np.ndarray:
        return hidden(as_tensor(images)).double().numpy()

    return features


def clip_features(device: str) -> Features:
    """Return what gives the unit embeddings of the bundled CLIP."""
    encoder = CLIPReward(str(WORLD / "rewards" / "clip"), device=device).encoder

    def features(images: np.ndarray) -> np.ndarray:
        return encoder.embed_images(as_pictures(images)).cpu().double().numpy()

    return features


def percent_change(before: float, after: float) -> float:
    """Return by how many percent a distance changes, negative where it shrinks."""
    return 100 * (after / before - 1)


def table(family: FamilyImages, kinds: Mapping[str, Features]) -> Grid:
    """Return the distances before and after realigning, in each kind of features."""
    sets = {
        ("healthy", 1.0): family.draw(HEALTHY, 1.0, HEALTHY_SEED),
        ("floor", 1.0): family.draw(HEALTHY, 1.0, OTHER_SEED),
    }
    for beta in HACKED:
        for lam in (1.0, beta / HEALTHY):
            sets[f"β = {beta}", lam] = family.draw(beta, lam, OTHER_SEED)
    rows: list[tuple[str, ...]] = []
    for kind, features in kinds.items():
        healthy, *others = (features(images) for images in sets.values())
        before = np.nan
        for (name, lam), values in zip(list(sets)[1:], others, strict=True):
            distance = frechet_distance(healthy, values)
            before = distance if lam == 1 else before
            change = "" if lam == 1 else f"{percent_change(before, distance):+.1f} %"
            mmd = maximum_mean_discrepancy(healthy, values)
            rows.append((kind, name, f"{lam:g}", f"{distance:.4g}", change, f"{mmd:.4g}"))
    header = ("features", "anchor", "λ", "Fréchet distance", "change", "MMD²")
    title = f"Table 3: distance of {len(family.prompts)} images to a model aligned at β = {HEALTHY}"
    return Grid("table3", title, header, tuple(rows))


def measured(folder: Path, family: FamilyImages, device: str) -> Grid:
    """Return the table with both kinds of features."""
    kinds = {"digit reader": digit_features(folder), "CLIP": clip_features(device)}
    return table(family, kinds)


def main(output: str, images: int = 500, device: str | None = None) -> str:
    folder, device = Path(output), device or default_device()
    folder.mkdir(parents=True, exist_ok=True)
    grid = measured(folder, FamilyImages(device, images), device)
    text = f"{environment()}, device {device}\n\n{markdown(grid)}"
    (folder / "table3.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--device")
    print(main(**vars(parser.parse_args())))
