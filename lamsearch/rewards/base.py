"""The protocol of a reward, and the wrapper that enforces it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lamsearch.errors import RewardError, first_line

Scores = NDArray[np.float32]


@runtime_checkable
class Reward(Protocol):
    """Anything that scores images against their prompts.

    A reward may also have the attributes `name` and `scale` (the unit of its scores, such as
    `cosine`). What a study's manifest says of it beyond its settings is in `identity`, a mapping
    of JSON values such as a version; options named in `operational` change no score and are left
    out, so that a study can be resumed with others.
    """

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return one score per image, (B,) float32; higher is better, and NaN means no score.

        Args:
            images: B images.
            prompts: B texts, in the order of the images.
        """
        ...


@dataclass(frozen=True)
class CheckedReward:
    """A reward whose inputs and outputs are validated.

    Attributes:
        reward: The reward itself.
        name: The name it is reported under.
        scale: Unit of the scores; scores of different scales are not comparable.
    """

    reward: Reward
    name: str
    scale: str

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the reward's scores, (B,) float32; higher is better, and NaN means no score.

        Args:
            images: B images.
            prompts: B texts, in the order of the images.

        Raises:
            RewardError: If the numbers of images and prompts differ, or the scores are not of
                shape (B,) and float32 or float64, or one is infinite.
        """
        if len(images) != len(prompts):
            given = f"{len(images)} images but {len(prompts)} prompts given"
            raise RewardError(f"reward '{self.name}': {given}, expected one prompt per image")
        if not images:
            return np.zeros(0, dtype=np.float32)
        return self._checked(self.reward.score(images, prompts), len(images))

    def _checked(self, scores: Any, count: int) -> Scores:
        """Return the scores as (count,) float32, or raise RewardError."""
        try:
            array = np.asarray(scores)
        except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, a ragged list
            given = f"returned a {type(scores).__name__} that is not an array"
            raise RewardError(f"reward '{self.name}': {given}: {first_line(error)}") from error
        # float16 resolves a score of 0.29 only to 2.4e-4, about the effect of λ.
        if array.shape != (count,) or array.dtype not in (np.float32, np.float64):
            given = f"returned shape {array.shape} of {array.dtype}"
            expected = f"expected ({count},) of float32, one score per image"
            raise RewardError(f"reward '{self.name}': {given}, {expected}")
        if np.isinf(array).any():
            raise RewardError(f"reward '{self.name}': returned an infinite score, expected numbers")
        return array.astype(np.float32)


def as_reward(reward: object, name: str | None = None) -> CheckedReward:
    """Return the object wrapped as a `CheckedReward`, or as it is if it is one.

    Args:
        reward: An object with a `score` method.
        name: The name to report it under; by default its attribute `name`, else its class's.

    Raises:
        RewardError: If the object has no `score` method, or is a class.
    """
    if isinstance(reward, CheckedReward):
        return reward
    if not isinstance(reward, Reward) or isinstance(reward, type):
        given = f"{reward!r} given"
        raise RewardError(
            f"{given}, expected an object with score(images, prompts) -> (B,) float32"
        )
    own_name = getattr(reward, "name", None) or type(reward).__name__
    return CheckedReward(reward, name or own_name, str(getattr(reward, "scale", "unnamed")))
