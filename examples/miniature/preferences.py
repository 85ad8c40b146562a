"""The people: what they like, and the pairs of images that they have compared.

A rater's utility of an image is

    u = strength · v + care · (log p(digit asked for) + log p(colour asked for)),

with v the image's vividness in standard deviations of the reference's. Of two images for the same
prompt the first is preferred with probability 1 / (1 + exp(−(u₁ − u₂) / noise)) (Bradley–Terry).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from deradiff.dpo import PreferencePair
from examples.miniature.data import asked_for, prompt_lists
from examples.miniature.readers import Readers, load_readers
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import (
    Settings,
    as_pictures,
    as_tensor,
    load_pipeline,
    sample_images,
)

DOUBT = 2e-3
"""People never take a reading for certain: the least probability that they give to anything."""


class Judgement(NamedTuple):
    """What people see in n images, given what was asked for: all (n,) float32."""

    vividness: torch.Tensor
    digit: torch.Tensor
    colour: torch.Tensor
    right_digit: torch.Tensor
    right_colour: torch.Tensor


def judge(readers: Readers, images: np.ndarray, prompts: list[str]) -> Judgement:
    """Return vividness, log-probabilities of what was asked for, and whether the guess is right."""
    reading = readers(as_tensor(images))
    digits, colours = asked_for(prompts)
    doubtful = [(p + DOUBT) / (1 + DOUBT) for p in (reading.digits, reading.colours)]
    return Judgement(
        reading.vividness,
        doubtful[0].gather(1, digits[:, None])[:, 0].log(),
        doubtful[1].gather(1, colours[:, None])[:, 0].log(),
        (reading.digits.argmax(1) == digits).float(),
        (reading.colours.argmax(1) == colours).float(),
    )


class Taste(NamedTuple):
    """A crowd of raters.

    Attributes:
        mean: The reference's mean vividness.
        deviation: The standard deviation of the reference's vividness.
        strength: How much they like vividness.
        care: How much they want what they asked for.
        noise: How much chance there is in their choices.
    """

    mean: float
    deviation: float
    strength: float
    care: float = 1.0
    noise: float = 1.0

    def utility(self, judgement: Judgement) -> torch.Tensor:
        """Return the utility (n,) of each image."""
        vivid = (judgement.vividness - self.mean) / self.deviation
        return self.strength * vivid + self.care * (judgement.digit + judgement.colour)

    def prefers_first(self, first: torch.Tensor, second: torch.Tensor, seed: int) -> torch.Tensor:
        """Draw Bradley–Terry preferences (n,) between images of the given utilities."""
        generator = torch.Generator().manual_seed(seed)
        chance = ((first - second) / self.noise).sigmoid()
        return torch.rand(chance.shape, generator=generator) < chance


def draw_pair_images(recipe: Recipe, seat: int, work: Path, world: Path) -> None:
    """Sample the first (`seat` 0) or second (1) image of every pair from the reference."""
    settings = Settings(0.0, recipe.guidance, recipe.steps)
    pipe = load_pipeline(world / "reference")
    images = sample_images(pipe, pair_prompts(recipe), 10_000_000 * (1 + seat), settings)
    np.save(pair_file(work, seat), images)


def pair_file(work: Path, seat: int) -> Path:
    """Return the file with the first or second images of all pairs."""
    return work / f"pairs{seat}.npy"


def pair_images(work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the second images of all pairs, uint8 (n, 32, 32, 3) each."""
    return np.load(pair_file(work, 0)), np.load(pair_file(work, 1))


def pair_prompts(recipe: Recipe) -> list[str]:
    """Return the prompts of the pairs: in no prompt file, evenly over digits and colours."""
    *_, distinct = prompt_lists((*recipe.prompt_files, 600), recipe.seed)
    return [distinct[k % len(distinct)] for k in range(recipe.pairs)]


def crowd(recipe: Recipe, work: Path) -> Taste:
    """Return the raters, who measure vividness in units of the reference's own images."""
    vividness = load_readers(work)(as_tensor(pair_images(work)[0])).vividness
    return Taste(vividness.mean().item(), vividness.std().item(), recipe.taste)


def labelled_pairs(recipe: Recipe, work: Path) -> list[PreferencePair]:
    """Return the preference pairs on which the anchors are aligned, as a small Pick-a-Pic."""
    prompts, images = pair_prompts(recipe), pair_images(work)
    taste, readers = crowd(recipe, work), load_readers(work)
    first, second = (taste.utility(judge(readers, seat, prompts)) for seat in images)
    kept = taste.prefers_first(first, second, recipe.seed + 6).tolist()
    rows = zip(prompts, *map(as_pictures, images), kept, strict=True)
    return [PreferencePair(p, a, b) if keep else PreferencePair(p, b, a) for p, a, b, keep in rows]
