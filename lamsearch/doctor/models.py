"""Whether anchors and rewards fit the device, load, and pass their probes; one at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from lamsearch.config.settings import AnchorSettings, RewardSettings
from lamsearch.doctor.check import Check, size_text
from lamsearch.doctor.config import DoctorConfig
from lamsearch.doctor.machine import device_memory
from lamsearch.doctor.weights import anchor_bytes, local_place, missing
from lamsearch.evaluation.loading import load_anchor
from lamsearch.rewards.memory import free_memory
from lamsearch.rewards.permission import require_permission
from lamsearch.rewards.registry import default_model, load_reward

_COMFORTABLE = 0.8
"""Share of the free memory that weights may take: images need memory too."""

_PROBE_PIXELS = 64


def anchor_checks(settings: AnchorSettings, device: str, options: DoctorConfig) -> Iterator[Check]:
    """Check one anchor: as understood, its memory, and that it loads and changes the output."""
    name, facts = f"anchor {settings.name}", anchor_text(settings)
    if absent := missing(settings):
        yield _absent(name, absent)
        return
    needed, (free, _) = anchor_bytes(settings), device_memory(device)
    facts += f", {size_text(needed)}"
    if needed > free:
        yield Check(
            name,
            "wrong",
            f"{facts} of weights, but {size_text(free)} of memory is free on {device}: use a "
            "smaller dtype, or another device",
        )
        return
    if not options.quick:
        # Its loader probes it: a forward pass of both models, whose outputs must differ.
        load_anchor(settings, device)
        free_memory()
        facts += "; works"
    if needed > _COMFORTABLE * free:
        yield Check(name, "warning", f"{facts}; little room for images: {size_text(free)} free")
    else:
        yield Check(name, "ok", facts)


def anchor_text(settings: AnchorSettings) -> str:
    """Return how an anchor's settings were understood, in short."""
    sampling = settings.sampling
    strength = "no β" if settings.beta is None else f"β = {settings.beta:g}"
    guidance = "" if sampling.guidance_scale is None else f"guidance {sampling.guidance_scale:g}, "
    return f"{strength}, {sampling.steps} steps, {guidance}{sampling.dtype}"


def reward_checks(settings: RewardSettings, device: str, options: DoctorConfig) -> Iterator[Check]:
    """Check one reward: that it may run, loads, and scores two pictures, each on its own."""
    name = f"reward {settings.name}"
    require_permission(settings, allow_code=options.allow_code)
    model = settings.model or default_model(settings.kind)
    if model is not None and local_place(model) is None:
        yield _absent(name, [model])
        return
    if options.quick:
        yield Check(name, "ok", f"{settings.kind}, found")
        return
    reward = load_reward(settings, device, allow_code=options.allow_code)
    scores = reward.score(_pictures(), ["a photo of a cat", "a photo of a dog"])
    free_memory()
    shown = ", ".join(f"{score:.4g}" for score in scores)
    if np.isnan(scores).any():
        text = "gives no score for some test pictures: a search counts such images as missing"
        yield Check(name, "warning", f"{text} ({shown})")
    else:
        yield Check(name, "ok", f"{settings.kind}, unit {reward.scale}: test scores {shown}")


def _pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shape = (_PROBE_PIXELS, _PROBE_PIXELS, 3)
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(2)]


def _absent(name: str, absent: list[str]) -> Check:
    from huggingface_hub import constants

    where = f"{', '.join(absent)} not in the hub cache"
    if constants.HF_HUB_OFFLINE:
        return Check(name, "wrong", f"{where}, and HF_HUB_OFFLINE forbids to download it")
    return Check(name, "warning", f"{where}: the first search downloads it; not loaded here")
