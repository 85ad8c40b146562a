"""All rewards of a search, each loaded once: the optimised sum and what is recorded beside it."""

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
    """What a panel says of B images; NaN = missing.

    Attributes:
        objective: (B,) scores of what is optimised.
        others: Name of another reward → its (B,) scores.
    """

    objective: NDArray[np.float64]
    others: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Panel:
    """Scores images by every reward of a search.

    Attributes:
        objective: What is optimised.
        rewards: Those of the objective and those recorded beside it, by name.
    """

    objective: Objective
    rewards: Mapping[str, CheckedReward]

    @classmethod
    def of(cls, reward: CheckedReward) -> Panel:
        """Return the panel of a single reward."""
        return cls(Objective({reward.name: 1.0}), {reward.name: reward})

    @property
    def others(self) -> list[str]:
        """Names of the rewards whose own scores are recorded: all but one that is the objective."""
        return [name for name in self.rewards if name != self.objective.plain]

    def score(self, images: Sequence[Image.Image | None], prompts: Sequence[str]) -> PanelScores:
        """Score B images against their prompts; one that is None has no score.

        An image that one reward of a sum has no score for has none under the sum.
        """
        present = [i for i, image in enumerate(images) if image is not None]
        given = [image for image in images if image is not None]
        texts = [prompts[i] for i in present]
        rows = {name: np.full(len(images), np.nan) for name in self.rewards}
        if present:
            for name, reward in self.rewards.items():
                rows[name][present] = reward.score(given, texts)
        terms = [weight * rows[name] for name, weight in self.objective.weights.items()]
        return PanelScores(np.sum(terms, axis=0), {name: rows[name] for name in self.others})


def load_panel(
    settings: Settings,
    objective: Objective,
    others: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
) -> Panel:
    """Load the rewards of an objective and others, each once.

    Raises:
        SettingsError: If the settings have no reward of some name.
        RewardError: If a reward cannot be loaded.
    """
    chosen = [settings.reward(name) for name in dict.fromkeys([*objective.weights, *others])]
    return Panel(objective, {each.name: load_reward(each, device) for each in chosen})
