"""Table 3: how far a hacked anchor's images are from a healthy model's, before and after.

The hacked anchors are realigned to the healthy strength, λ = β/2000. Distances are between sets of
images with other seeds, in the embeddings of the bundled CLIP: the Fréchet distance of arXiv
1706.08500, which needs many more images than the features have dimensions, and the unbiased MMD² of
CMMD (arXiv 2401.09603), which needs fewer. `floor` compares two sets of the healthy model itself;
its MMD² is a little below 0, since both sets have the same prompts equally often.
"""

from __future__ import annotations

import numpy as np

from deradiff.distances import frechet_distance, maximum_mean_discrepancy
from examples.miniature.sampling import as_pictures
from examples.paper.family_images import WORLD, FamilyImages
from lamsearch.agreement.table import Grid
from lamsearch.rewards.clip import CLIPReward

HEALTHY, HACKED = 2000, (250, 500, 750)
HEALTHY_SEED, OTHER_SEED = 2_000_000, 3_000_000


def table(family: FamilyImages, device: str) -> Grid:
    """Return the distances before and after realigning."""
    encoder = CLIPReward(str(WORLD / "rewards" / "clip"), device=device).encoder

    def features(beta: int, lam: float, first_seed: int) -> np.ndarray:
        pictures = as_pictures(family.draw(beta, lam, first_seed))
        return encoder.embed_images(pictures).cpu().double().numpy()

    healthy = features(HEALTHY, 1.0, HEALTHY_SEED)
    rows = [_row("floor", 1.0, _measure(healthy, features(HEALTHY, 1.0, OTHER_SEED)))]
    for beta in HACKED:
        lam = beta / HEALTHY
        before, after = (
            _measure(healthy, features(beta, weight, OTHER_SEED)) for weight in (1.0, lam)
        )
        rows.append(_row(f"β = {beta}", 1.0, before))
        rows.append(_row(f"β = {beta}", lam, after, f"{100 * (after[0] / before[0] - 1):+.1f} %"))
    header = ("anchor", "λ", "Fréchet distance", "change", "MMD²")
    title = f"Table 3: distance of {len(family.prompts)} images to a model aligned at β = {HEALTHY}"
    return Grid(title, header, tuple(rows))


def _measure(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    return frechet_distance(first, second), maximum_mean_discrepancy(first, second)


def _row(
    name: str, lam: float, distances: tuple[float, float], change: str = ""
) -> tuple[str, ...]:
    frechet, mmd = distances
    return name, f"{lam:g}", f"{frechet:.4g}", change, f"{mmd:.4g}"
