"""All rewards of a search, each loaded once: those of the objective and the tracked ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lamsearch.config.expressions import Objective
from lamsearch.config.settings import Settings
from lamsearch.rewards.base import CheckedReward
from lamsearch.rewards.registry import load_reward

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class PanelScores:
    """Scores of B images; NaN where an image has none.

    Attributes:
        objective: Scores of the objective, (B,); higher is better.
        tracked: Name of a reward recorded beside the objective → its scores, (B,).
    """

    objective: NDArray[np.float64]
    tracked: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Panel:
    """Scores images by every reward of a search.

    Attributes:
        objective: The weighted sum of rewards that is optimised.
        rewards: The rewards of the objective and those recorded beside it, by name.
    """

    objective: Objective
    rewards: Mapping[str, CheckedReward]

    @classmethod
    def of(cls, reward: CheckedReward) -> Panel:
        """Return the panel whose objective is a single reward."""
        return cls(Objective({reward.name: 1.0}), {reward.name: reward})

    @classmethod
    def empty(cls) -> Panel:
        """Return the panel that scores nothing, for images that are only looked at."""
        return cls(Objective({}), {})

    @property
    def tracked(self) -> list[str]:
        """Names of the rewards recorded beside the objective.

        These are all rewards, except for one that is the whole objective.
        """
        return [name for name in self.rewards if name != self.objective.plain]

    def score(self, images: Sequence[Image.Image | None], prompts: Sequence[str]) -> PanelScores:
        """Score images against their prompts.

        An image that lacks a score of one reward of the objective has no score of the objective.

        Args:
            images: B images; None for one that is missing and gets no score.
            prompts: B texts, in the order of the images.

        Raises:
            RewardError: If the scores of a reward are not what a reward must return.
        """
        present = [i for i, image in enumerate(images) if image is not None]
        given = [image for image in images if image is not None]
        texts = [prompts[i] for i in present]
        rows = {name: np.full(len(images), np.nan) for name in self.rewards}
        if present:
            for name, reward in self.rewards.items():
                rows[name][present] = reward.score(given, texts)
        terms = [weight * rows[name] for name, weight in self.objective.weights.items()]
        total = np.sum(terms, axis=0) if terms else np.full(len(images), np.nan)
        return PanelScores(total, {name: rows[name] for name in self.tracked})


def load_panel(
    settings: Settings,
    objective: Objective,
    tracked: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
    allow_code: bool = False,
) -> Panel:
    """Load the rewards of an objective and the tracked ones, each once.

    Args:
        settings: The settings file.
        objective: The weighted sum of rewards to optimise.
        tracked: Names of rewards to record beside it.
        device: Where the rewards' models run.
        allow_code: Whether rewards of one's own may run, `module:attribute` in the settings.

    Raises:
        SettingsError: If the settings have no reward of some name, or one may not run.
        RewardError: If a reward cannot be loaded.
    """
    chosen = [settings.reward(name) for name in dict.fromkeys([*objective.weights, *tracked])]
    loaded = {each.name: load_reward(each, device, allow_code=allow_code) for each in chosen}
    return Panel(objective, loaded)
