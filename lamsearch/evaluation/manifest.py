"""What the scores of a study depend on, as JSON: a resumed study is held to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import deradiff
from lamsearch.config.settings import AnchorSettings, RewardSettings, Settings
from lamsearch.evaluation.image_plan import PlannedImage, plan_hash
from lamsearch.rewards import CheckedReward, Panel

_SMALL_FILE_BYTES = 2_000_000


def images_manifest(
    settings: AnchorSettings, anchor: deradiff.Anchor, plan: Sequence[PlannedImage]
) -> dict[str, Any]:
    """Return what the images depend on.

    Args:
        settings: The anchor's settings.
        anchor: The loaded anchor.
        plan: The images that identify the plan: all, or the first ones of a plan that may grow.
    """
    sampling, pipe = settings.sampling, anchor.pipe
    config = {key: value for key, value in pipe.scheduler.config.items() if key[0] != "_"}
    return {
        "anchor": settings.name,
        "beta": anchor.beta,
        "weights": anchor.fingerprint(),
        "pipeline": type(pipe).__name__,
        "scheduler": {"class": type(pipe.scheduler).__name__, **config},
        "steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "negative_prompt": sampling.negative_prompt,
        "size": [sampling.height, sampling.width],
        "dtype": sampling.dtype,
        "plan": plan_hash(plan),
        **_given(
            strength=settings.strength,
            aligned_steps=sampling.aligned_steps,
            frames=sampling.frames,
        ),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that are set: studies from before they existed have none of them."""
    return {name: value for name, value in options.items() if value is not None}


def panel_manifest(settings: Settings, panel: Panel) -> dict[str, Any]:
    """Return what the scores of given images depend on; local files by their content."""
    facts = {
        name: _reward_facts(settings.reward(name), reward) for name, reward in panel.rewards.items()
    }
    plain = facts.pop(panel.objective.plain or "", {})
    return {
        "reward": panel.objective.text,
        **{f"reward_{key}": fact for key, fact in plain.items()},
        **{f"reward {name}": fact for name, fact in facts.items()},
    }


def _reward_facts(settings: RewardSettings, reward: CheckedReward) -> dict[str, Any]:
    inner = reward.reward
    model = getattr(getattr(inner, "encoder", None), "model", None)
    operational = getattr(inner, "operational", ())
    deciding = {key: each for key, each in settings.options.items() if key not in operational}
    facts = {
        "kind": settings.kind,
        "options": _by_content(deciding),
        "scale": reward.scale,
        "weights": deradiff.fingerprint([model]) if model is not None else None,
    }
    # A reward without an identity has the same manifest as in studies of earlier versions.
    return {**getattr(inner, "identity", {}), **facts}


def _by_content(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with paths replaced by digests: a folder that moved is still the same."""
    digests = {}
    for key, value in options.items():
        path = Path(value) if isinstance(value, str) else None
        digests[key] = _digest(path) if path is not None and path.exists() else value
    return digests


def _digest(path: Path) -> str:
    """Return a digest of file names and sizes, and of small files' contents."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            size = file.stat().st_size
            digest.update(f"{file.relative_to(path.parent).name} {size}".encode())
            digest.update(file.read_bytes() if size < _SMALL_FILE_BYTES else b"")
    return digest.hexdigest()[:16]
