"""Independent readers: which digit, which colour, and how vivid a picture is.

The digit reader is a small convolutional network trained on real scans only, never on generated
pictures; it also knows an eleventh class, "no digit", for blots and the like. The colour reader is
plain arithmetic on hue. Both give probabilities.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from examples.miniature.data import INKS, Scans, draw_pictures, load_scans
from examples.miniature.recipe import Recipe
from examples.miniature.training import report, schedule

HUE_TOLERANCE = 0.16
"""Standard deviation in radians with which people tell hues apart: 9 degrees."""


class Reading(NamedTuple):
    """What readers see in n pictures.

    Attributes:
        digits: (n, 11) probabilities of the ten digits and of "no digit".
        colours: (n, 6) probabilities of the named colours.
        vividness: (n,) mean chroma over the whole picture in [0, 1]: saturated and bold.
    """

    digits: torch.Tensor
    colours: torch.Tensor
    vividness: torch.Tensor


def new_digit_reader() -> nn.Sequential:
    """Return an untrained network from (n, 3, 32, 32) in [-1, 1] to (n, 11) logits."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 96), nn.ReLU(), nn.Linear(96, 11))


def blots(scans: Scans, n: int, generator: torch.Generator) -> torch.Tensor:
    """Draw pictures that are no digit: two digits over each other, filled blots, torn pieces."""
    first = draw_pictures(scans, n, generator, boldness=(-0.3, 1.0)).images
    second = draw_pictures(scans, n, generator, boldness=(0.0, 1.4)).images
    second[: n // 3] = draw_pictures(scans, n // 3, generator, boldness=(2.0, 2.5)).images
    first[: n // 3] = second[: n // 3]
    third = slice(2 * n // 3, None)
    second[third] = torch.rot90(first[third], 1, (2, 3)).roll(12, 3)
    return torch.minimum(first, second)


def reader_batch(scans: Scans, n: int, generator: torch.Generator):
    """Draw pictures of every boldness and saturation, and some blots, with their classes."""
    wide = draw_pictures(scans, n, generator, boldness=(-0.2, 1.5), saturation=(0.3, 1.3))
    nothing = blots(scans, n // 8, generator)
    images = torch.cat([wide.images, nothing])
    images = images + 0.06 * torch.randn(images.shape, generator=generator)
    classes = torch.cat([wide.digits, torch.full((len(nothing),), 10)])
    return images.clamp(-1, 1), classes


def train_digit_reader(recipe: Recipe, path: Path) -> None:
    """Train the digit reader on the scans the generator sees; others check it."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed + 4)
    seen, _ = load_scans()
    model = new_digit_reader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    decay = schedule(optimizer, recipe.reader_steps)
    for step in range(recipe.reader_steps):
        images, classes = reader_batch(seen, 128, generator)
        loss = functional.cross_entropy(model(images), classes, label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        report("digit reader", step, recipe.reader_steps, loss.item())
    save_file(model.state_dict(), path)


class Readers:
    """Reads pictures (n, 3, 32, 32) in [-1, 1]."""

    def __init__(self, path: Path):
        self.model = new_digit_reader().eval()
        self.model.load_state_dict(load_file(path))

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Reading:
        """Read digit, colour and vividness of each picture."""
        parts = [self.model(part).softmax(1) for part in images.split(256)]
        return Reading(torch.cat(parts), colour_probabilities(images), vividness(images))

    def held_out_accuracy(self) -> float:
        """Return the share of held-out real scans, drawn as the data are, that it reads right."""
        _, unseen = load_scans()
        pictures = draw_pictures(unseen, 2000, torch.Generator().manual_seed(5))
        right = self(pictures.images).digits.argmax(1) == pictures.digits
        return right.float().mean().item()


def load_readers(work: Path) -> Readers:
    """Load the readers of a build."""
    return Readers(work / "reader.safetensors")


def chroma(images: torch.Tensor) -> torch.Tensor:
    """Return the largest minus the smallest channel of each pixel, (n, 32, 32) in [0, 1]."""
    return (images.amax(1) - images.amin(1)).clamp(0, 2) / 2


def vividness(images: torch.Tensor) -> torch.Tensor:
    """Return the mean chroma of each picture, (n,)."""
    return chroma(images).mean((1, 2))


def hue(images: torch.Tensor) -> torch.Tensor:
    """Return the chroma-weighted mean hue of each picture in radians, (n,)."""
    red, green, blue = (images * chroma(images)[:, None].square()).mean((2, 3)).unbind(1)
    return torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)


def ink_hues() -> torch.Tensor:
    """Return the hue of each named ink in radians, as `hue` measures it."""
    inks = torch.tensor(list(INKS.values()), dtype=torch.float32)[:, :, None, None] / 127.5 - 1
    return hue(inks)


def colour_probabilities(images: torch.Tensor) -> torch.Tensor:
    """Return how likely people are to name each colour, (n, 6)."""
    gap = hue(images)[:, None] - ink_hues()[None]
    gap = torch.remainder(gap + math.pi, 2 * math.pi) - math.pi
    return (-gap.square() / (2 * HUE_TOLERANCE**2)).softmax(1)
