"""Comparisons from many sources, to tune the rewards on.

Pick-a-Pic's images come from many models at many settings. So do these: for each prompt a few
images of the reference at the default settings, of the reference at other guidance scales and step
counts, of realigned and over-trained denoisers, over-saturated and broken copies, and images that
were made for another prompt. A reward that has seen only the reference's images would learn that
more vivid is better, and never that there is such a thing as too much. The raters of the pool are
stricter about what they asked for than those of the anchors' pairs: they have seen more go wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from examples.miniature.preferences import crowd, judge, pair_images, pair_prompts
from examples.miniature.readers import load_readers
from examples.miniature.recipe import Recipe
from examples.miniature.rewards import train_preference_model
from examples.miniature.sampling import Settings, as_tensor, load_pipeline, load_unet, sample_images
from examples.miniature.tokens import new_tokenizer, tokenize

CHUNK = 64


def draw_pool_images(recipe: Recipe, part: int, work: Path, world: Path) -> None:
    """Sample one source `part` for the pool's prompts; settings change every 64 images."""
    rng = np.random.default_rng([recipe.seed, 8, part])
    prompts = pair_prompts(recipe)[: recipe.pool]
    pipe = load_pipeline(world / "reference")
    beta = (None, 250, 500, 250, 500)[part % 5]
    aligned = load_unet(world / "anchors" / f"beta{beta}" / "unet") if beta else None
    images = []
    for start in range(0, len(prompts), CHUNK):
        settings = odd_settings(rng) if beta is None else hacked_settings(rng, recipe)
        seed = 30_000_000 + 1_000_000 * part + start
        images.append(sample_images(pipe, prompts[start : start + CHUNK], seed, settings, aligned))
    (work / "pool").mkdir(exist_ok=True)
    np.save(work / "pool" / f"part{part}.npy", np.concatenate(images))


def odd_settings(rng: np.random.Generator) -> Settings:
    """Draw settings of the reference: another guidance scale and number of steps."""
    return Settings(0.0, float(rng.choice([1.0, 1.5, 2.0, 5.0, 8.0])), int(rng.choice([6, 10, 20])))


def hacked_settings(rng: np.random.Generator, recipe: Recipe) -> Settings:
    """Draw settings of an anchor: any λ, also beyond 1."""
    return Settings(float(rng.uniform(0.1, 1.3)), recipe.guidance, 20)


def spoil(images: np.ndarray, seed: int) -> np.ndarray:
    """Return copies of uint8 images: over-saturated, thickened, faded, blurred, noisy or torn."""
    generator = torch.Generator().manual_seed(seed)
    pictures = as_tensor(images)
    amount = torch.rand(len(pictures), 1, 1, 1, generator=generator)
    mean = pictures.mean(1, keepdim=True)
    ways = torch.stack(
        [
            mean + (1.2 + 1.3 * amount) * (pictures - mean),
            -functional.max_pool2d(-pictures, 3, stride=1, padding=1),
            -functional.max_pool2d(-pictures, 5, stride=1, padding=2),
            pictures + (0.3 + 0.5 * amount) * (0.9 - pictures),
            functional.avg_pool2d(pictures, 5, stride=1, padding=2, count_include_pad=False),
            pictures + 0.6 * amount * torch.randn(pictures.shape, generator=generator),
            pictures.roll(11, 2),
        ]
    )
    chosen = torch.randint(len(ways), (len(pictures),), generator=generator)
    spoilt = ways[chosen, torch.arange(len(pictures))].clamp(-1, 1)
    return ((spoilt + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def pool_images(recipe: Recipe, work: Path) -> np.ndarray:
    """Return all sources, uint8 (sources, n, 32, 32, 3); [s, i] is for the pool's prompt i."""
    plain = [images[: recipe.pool] for images in pair_images(work)]
    drawn = [np.load(work / "pool" / f"part{part}.npy") for part in range(recipe.pool_parts)]
    spoilt = [spoil(source, recipe.seed + k) for k, source in enumerate([*plain, *drawn[:2]])]
    swapped = [np.roll(source, 7, axis=0) for source in (plain[0], drawn[-1])]
    return np.stack([*plain, *drawn, *spoilt, *swapped])


class Crowd(NamedTuple):
    """The raters of a reward: their care and noise (see `Taste`), and the seed of their choices."""

    care: float
    noise: float
    seed: int


CROWDS = {"pickscore": Crowd(2.0, 1.0, 100), "hps": Crowd(2.0, 2.5, 200)}


def comparisons(recipe: Recipe, people: Crowd, work: Path) -> dict:
    """Draw comparisons within each prompt's images, labelled by a crowd of raters."""
    images = pool_images(recipe, work)
    sources, prompts_count = images.shape[:2]
    prompts = pair_prompts(recipe)[:prompts_count]
    flat = images.reshape(-1, *images.shape[2:])
    taste = crowd(recipe, work)._replace(care=people.care, noise=people.noise)
    utility = taste.utility(judge(load_readers(work), flat, prompts * sources))
    seed = recipe.seed + people.seed
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(prompts_count, (recipe.comparisons,), generator=generator)
    source = torch.rand(recipe.comparisons, sources, generator=generator).argsort(1)[:, :2]
    first, second = (source * prompts_count + prompt[:, None]).unbind(1)
    keep = taste.prefers_first(utility[first], utility[second], seed + 1)
    return {
        "images": flat,
        "tokens": tokenize(new_tokenizer(), prompts * sources),
        "preferred": torch.where(keep, first, second),
        "rejected": torch.where(keep, second, first),
        "seed": seed,
    }


def train_reward(recipe: Recipe, name: str, work: Path, world: Path) -> None:
    """Tune `pickscore` or `hps`, whose raters are others and noisier."""
    pairs = comparisons(recipe, CROWDS[name], work)
    rewards = world / "rewards"
    train_preference_model(recipe, rewards / "clip", pairs, rewards / name)
