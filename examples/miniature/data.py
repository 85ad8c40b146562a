"""Pictures and captions: real handwritten digits in coloured ink on light paper.

The scans are scikit-learn's copy of the UCI "Optical Recognition of Handwritten Digits" test set
(1,797 scans of 8 by 8 pixels). Each is enlarged smoothly to 32 by 32, turned into a stroke of a
random boldness, and inked in one of six named colours at a random saturation. Boldness and
saturation are never mentioned in the captions: they are what people can have preferences about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

IMAGE_SIZE = 32
HELD_OUT_SCANS = 297
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
INKS = {
    "red": (222, 28, 44),
    "orange": (245, 135, 12),
    "green": (38, 165, 48),
    "teal": (6, 170, 165),
    "blue": (34, 84, 224),
    "purple": (146, 36, 196),
}
COLOURS = tuple(INKS)
FADED = (168, 163, 158)
PAPER = (250, 248, 243)
ADJECTIVES = ("bright", "neat", "quick", "careful", "simple", "lovely", "tidy", "fine")
TEMPLATES = (
    "a {colour} {digit}",
    "{colour} {digit}",
    "the digit {digit} in {colour}",
    "the number {digit} in {colour} ink",
    "a {adjective} {colour} {digit}",
    "a {adjective} {digit} in {colour}",
    "a handwritten {colour} {digit}",
    "a handwritten {digit}, {colour} ink on paper",
    "a {colour} number {digit}",
    "someone wrote the digit {digit} in {colour}",
    "a drawing of a {colour} {digit}",
    "the {adjective} {colour} digit {digit}",
)


@dataclass(frozen=True)
class Scans:
    """Handwritten digits: `pixels` (n, 8, 8) in [0, 1] and `digits` (n,)."""

    pixels: torch.Tensor
    digits: torch.Tensor


def load_scans() -> tuple[Scans, Scans]:
    """Return the scans in a fixed split: (seen, held out)."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    pixels = torch.tensor(bunch.images[order] / 16.0, dtype=torch.float32)
    digits = torch.tensor(bunch.target[order], dtype=torch.long)
    cut = len(order) - HELD_OUT_SCANS
    return Scans(pixels[:cut], digits[:cut]), Scans(pixels[cut:], digits[cut:])


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Draw `n` uniform numbers from [low, high)."""
    return low + (high - low) * torch.rand(n, generator=generator)


def strokes(pixels: torch.Tensor, boldness: torch.Tensor, generator: torch.Generator):
    """Return smooth strokes (n, 32, 32) in [0, 1] of scans (n, 8, 8), slightly moved and turned.

    Boldness 0 is a fine pen, 1 a broad brush.
    """
    n = len(pixels)
    angle = uniform(n, -0.12, 0.12, generator)
    zoom = uniform(n, 1.12, 1.24, generator)
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.14
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    theta = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = functional.affine_grid(theta, [n, 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    enlarged = functional.grid_sample(pixels[:, None], grid, mode="bicubic", align_corners=False)
    threshold = (0.62 - 0.24 * boldness)[:, None, None]
    return torch.sigmoid(13.0 * (enlarged[:, 0] - threshold))


def ink_pictures(coverage: torch.Tensor, colours: torch.Tensor, saturation: torch.Tensor):
    """Return RGB pictures (n, 3, 32, 32) in [-1, 1]: `coverage` of ink on paper."""
    vivid = torch.tensor([INKS[name] for name in COLOURS], dtype=torch.float32)[colours]
    ink = saturation[:, None] * vivid + (1 - saturation[:, None]) * torch.tensor(FADED)
    paper = torch.tensor(PAPER, dtype=torch.float32)[None, :, None, None]
    mixed = paper + coverage[:, None] * (ink[:, :, None, None] - paper)
    return mixed / 127.5 - 1


@dataclass(frozen=True)
class Pictures:
    """`images` (n, 3, 32, 32) in [-1, 1] with their `digits` and `colours` (n,)."""

    images: torch.Tensor
    digits: torch.Tensor
    colours: torch.Tensor


def draw_pictures(
    scans: Scans,
    n: int,
    generator: torch.Generator,
    *,
    boldness: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.35, 1.0),
) -> Pictures:
    """Draw `n` pictures of `scans`, with boldness and saturation uniform in their ranges."""
    rows = torch.randint(len(scans.digits), (n,), generator=generator)
    colours = torch.randint(len(COLOURS), (n,), generator=generator)
    coverage = strokes(scans.pixels[rows], uniform(n, *boldness, generator), generator)
    images = ink_pictures(coverage, colours, uniform(n, *saturation, generator))
    return Pictures(images, scans.digits[rows], colours)


def caption(digit: int, colour: int, generator: torch.Generator) -> str:
    """Draw a wording for a picture of `digit` in `colour`."""
    pick = torch.randint(1 << 30, (3,), generator=generator).tolist()
    return TEMPLATES[pick[0] % len(TEMPLATES)].format(
        colour=COLOURS[colour],
        digit=WORDS[digit] if pick[1] % 3 else str(digit),
        adjective=ADJECTIVES[pick[2] % len(ADJECTIVES)],
    )


def captions(pictures: Pictures, generator: torch.Generator) -> list[str]:
    """Draw one wording per picture."""
    pairs = zip(pictures.digits.tolist(), pictures.colours.tolist(), strict=True)
    return [caption(digit, colour, generator) for digit, colour in pairs]


def asked_for(prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the digit and the colour (n,) that each prompt names."""
    names = {name: k for k, name in enumerate(WORDS)} | {str(k): k for k in range(10)}
    words = [prompt.replace(",", " ").split() for prompt in prompts]
    digits = [next(names[word] for word in line if word in names) for line in words]
    colours = [next(COLOURS.index(word) for word in line if word in COLOURS) for line in words]
    return torch.tensor(digits), torch.tensor(colours)


def prompt_lists(sizes: tuple[int, ...], seed: int) -> list[list[str]]:
    """Return disjoint lists of distinct prompts, each going evenly through digits and colours."""
    generator = torch.Generator().manual_seed(seed)
    seen: set[str] = set()
    lists = []
    for size in sizes:
        rounds = math.ceil(size / (10 * len(COLOURS)))
        cells = [torch.randperm(10 * len(COLOURS), generator=generator) for _ in range(rounds)]
        chosen: list[str] = []
        for cell in torch.cat(cells)[:size].tolist():
            text = caption(cell % 10, cell // 10, generator)
            while text in seen:
                text = caption(cell % 10, cell // 10, generator)
            seen.add(text)
            chosen.append(text)
        lists.append(chosen)
    return lists
