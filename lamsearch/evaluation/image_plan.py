"""The image plan: which prompt and which seed every image id has.

The plan is fixed for a study (common random numbers): image i has the same prompt and the same
seed at every λ, and also in a plan of more images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from lamsearch.errors import PromptError

GROWING = 1024
"""Minimum length of a plan that may grow; its hash covers its first `GROWING` images."""


@dataclass(frozen=True)
class PlannedImage:
    """One image of a study.

    Attributes:
        image_id: Position in the plan, from 0.
        prompt: The prompt that it is generated from.
        seed: Seed of its `torch.Generator`, in [0, 2⁶³).
    """

    image_id: int
    prompt: str
    seed: int


def image_plan(prompts: Sequence[str], images: int, seed: int) -> tuple[PlannedImage, ...]:
    """Return the plan of `images` images; a smaller plan is a prefix of a larger one.

    The prompts are used in an order shuffled by `seed`, and again from the start once all are
    used. Orders and seeds come from SHA-256, so they are the same on every platform and version.

    Raises:
        PromptError: If there are no prompts, or `images` is below 1.
    """
    if not prompts:
        raise PromptError("no prompts given, expected at least one")
    if images < 1:
        raise PromptError(f"{images} images requested, expected at least 1")
    order = sorted(range(len(prompts)), key=lambda index: _draw("prompt order", seed, index))
    return tuple(
        PlannedImage(image_id, prompts[order[image_id % len(order)]], _image_seed(seed, image_id))
        for image_id in range(images)
    )


def held_out_plan(
    plan: Sequence[PlannedImage], prompts: Sequence[str], images: int, *, seed: int
) -> tuple[PlannedImage, ...]:
    """Return a plan of `images` images from the prompts that `plan` does not use.

    Its image seeds differ from those of `image_plan(..., seed)`.

    Raises:
        PromptError: If `plan` uses all the prompts, or `images` is below 1.
    """
    used = {image.prompt for image in plan}
    unseen = [prompt for prompt in dict.fromkeys(prompts) if prompt not in used]
    if not unseen:
        given = f"all its {len(set(prompts))} prompts are"
        raise PromptError(f"{given} among the {len(used)} of the search")
    return image_plan(unseen, images, int.from_bytes(_draw("held-out plan", seed, 0)[:8], "big"))


def plan_hash(plan: Sequence[PlannedImage]) -> str:
    """Return the SHA-256 of a plan, as 64 hexadecimal digits."""
    rows = [[image.image_id, image.prompt, image.seed] for image in plan]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _image_seed(seed: int, image_id: int) -> int:
    return int.from_bytes(_draw("image seed", seed, image_id)[:8], "big") >> 1


def _draw(purpose: str, seed: int, index: int) -> bytes:
    return hashlib.sha256(f"lamsearch {purpose} {seed} {index}".encode()).digest()
