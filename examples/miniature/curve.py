"""The dense reference curve of `beta500`, and every anchor at λ = 1, on one image plan.

Image i (from 0) has prompt i mod n of `prompts.txt` (n prompts) and the CPU generator seed
1,000,000 + i, at every λ.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from examples.miniature.preferences import judge
from examples.miniature.readers import load_readers
from examples.miniature.recipe import Recipe
from examples.miniature.rewards import score
from examples.miniature.sampling import Settings, load_pipeline, load_unet, sample_images

FIRST_SEED = 1_000_000
BETA = 500
REWARDS = ("pickscore", "clip", "hps")
READINGS = ("right_digit", "right_colour", "vividness")


def plan_prompts(world: Path, images: int) -> list[str]:
    """Return the prompt of each image of the plan."""
    prompts = (world / "prompts.txt").read_text().splitlines()
    return [prompts[i % len(prompts)] for i in range(images)]


def draw(recipe: Recipe, beta: int, lam: float, world: Path, target: Path) -> None:
    """Sample the plan's images at one weight of an anchor into `target` (.npy)."""
    images = sample_images(
        load_pipeline(world / "reference"),
        plan_prompts(world, recipe.curve_images),
        FIRST_SEED,
        Settings(lam, recipe.guidance, recipe.steps),
        load_unet(world / "anchors" / f"beta{beta}" / "unet"),
    )
    target.parent.mkdir(exist_ok=True, parents=True)
    temporary = target.with_name("unfinished-" + target.name)
    np.save(temporary, images)
    temporary.replace(target)


def measure(drawn: Path, work: Path, world: Path) -> None:
    """Score and read the images in `drawn`; the values of every image go beside it (.npz)."""
    images = np.load(drawn)
    prompts = plan_prompts(world, len(images))
    judgement = judge(load_readers(work), images, prompts)
    values = {name: score(world / "rewards" / name, images, prompts) for name in REWARDS}
    values |= {name: getattr(judgement, name).numpy() for name in READINGS}
    np.savez(drawn.with_suffix(".npz"), **values)


def curve_lams(recipe: Recipe) -> list[float]:
    """Return the λs of the curve, evenly over [0, 1]."""
    return np.linspace(0, 1, recipe.curve_points).round(6).tolist()


def image_file(work: Path, beta: int, lam: float) -> Path:
    """Return the file with the plan's images at one λ of an anchor."""
    return work / "curve" / f"beta{beta}-lam{lam:.3f}.npy"


def mean_and_stderr(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def collect(recipe: Recipe, work: Path, world: Path) -> None:
    """Write `reference_curve.csv` and the per-image PickScores `reference_scores.npz`."""
    lams = curve_lams(recipe)
    files = [image_file(work, BETA, lam).with_suffix(".npz") for lam in lams]
    rows = [dict(np.load(file)) for file in files]
    with (world / "reference_curve.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        stats = [column for name in REWARDS for column in (name, f"{name}_stderr")]
        writer.writerow(["lam", "effective_beta", *stats, *READINGS])
        for lam, row in zip(lams, rows, strict=True):
            means = [f"{x:.6f}" for name in REWARDS for x in mean_and_stderr(row[name])]
            shares = [f"{row[name].mean():.4f}" for name in READINGS]
            beta = f"{BETA / lam:.2f}" if lam else "inf"
            writer.writerow([f"{lam:g}", beta, *means, *shares])
    pickscore = np.stack([row["pickscore"] for row in rows]).astype(np.float32)
    np.savez(world / "reference_scores.npz", lam=np.array(lams), pickscore=pickscore)


def collect_family(recipe: Recipe, work: Path, world: Path) -> None:
    """Write the per-image scores of the reference and of every anchor, `family_scores.npz`."""
    files = {float(beta): image_file(work, beta, 1.0) for beta in sorted(recipe.betas)}
    files[np.inf] = image_file(work, BETA, 0.0)
    rows = [np.load(file.with_suffix(".npz")) for file in files.values()]
    scores = {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in REWARDS}
    np.savez(world / "family_scores.npz", beta=np.array(list(files)), **scores)
