"""The contract of a reward, and the wrapper that holds every reward to it."""

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

    A reward may also have the attributes `name` and `scale` (what one unit is, such as `cosine`).
    """

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Returns one score an image, (B,) float32, higher is better; NaN means no score.

        Args:
            images: B images.
            prompts: B texts, in the order of the images.
        """
        ...


@dataclass(frozen=True)
class CheckedReward:
    """A reward whose inputs and outputs are checked.

    Attributes:
        reward: the reward itself.
        name: under which it is reported.
        scale: what one unit of the score is; scores of other scales are not comparable.
    """

    reward: Reward
    name: str
    scale: str

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Returns the reward's scores, (B,) float32.

        Raises:
            RewardError: the numbers of images and prompts differ, or the scores are not (B,)
                numbers of at least 32 bits.
        """
        if len(images) != len(prompts):
            given = f"{len(images)} images but {len(prompts)} prompts given"
            raise RewardError(f"reward '{self.name}': {given}, expected one prompt an image")
        if not images:
            return np.zeros(0, dtype=np.float32)
        return self._checked(self.reward.score(images, prompts), len(images))

    def _checked(self, scores: Any, count: int) -> Scores:
        try:
            array = np.asarray(scores)
        except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, a ragged list
            given = f"returned a {type(scores).__name__} that is no array"
            raise RewardError(f"reward '{self.name}': {given}: {first_line(error)}") from error
        # float16 resolves a score of 0.29 only to 2.4e-4, as much as λ moves it
        if array.shape != (count,) or array.dtype not in (np.float32, np.float64):
            given = f"returned shape {array.shape} of {array.dtype}"
            expected = f"expected ({count},) of float32, one score an image"
            raise RewardError(f"reward '{self.name}': {given}, {expected}")
        if np.isinf(array).any():
            raise RewardError(f"reward '{self.name}': returned an infinite score, expected numbers")
        return array.astype(np.float32)


def as_reward(reward: object, name: str | None = None) -> CheckedReward:
    """Wraps any object with a `score` method; a reward that is wrapped already stays as it is.

    Raises:
        RewardError: the object has no `score` method.
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
