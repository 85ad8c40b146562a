"""The protocol of a reward, and the wrapper that enforces it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lamsearch.errors import RewardError
from lamsearch.rewards.foreign_code import blamed_on
from lamsearch.rewards.memory import free_memory, is_out_of_memory
from lamsearch.study.batches import LARGEST_SCORE
from lamsearch.study.score_arrays import score_array

Scores = NDArray[np.floating[Any]]
"""What a reward returns: float32 or float64, one score per image."""


@runtime_checkable
class Reward(Protocol):
    """Anything that scores images against their prompts.

    A reward may also have the attributes `name` and `scale` (the unit of its scores, such as
    `cosine`). What a study's manifest says of it beyond its settings is in `identity`, a mapping
    of JSON values such as a version; options named in `operational` change no score and are left
    out, so that a study can be resumed with others.
    """

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return one score per image, (B,) float32 or float64; higher is better, NaN = no score.

        Args:
            images: B images; copies, which the reward may change.
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

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return the reward's scores, (B,) float64; higher is better, and NaN means no score.

        The reward gets copies of the images. Where its memory runs out it gets half of them.

        Args:
            images: B images.
            prompts: B texts, in the order of the images.

        Raises:
            RewardError: If the numbers of images and prompts differ, the reward raises anything but
                a `KeyboardInterrupt`, or the scores are not of shape (B,) and float32 or float64,
                or one is infinite.
        """
        if len(images) != len(prompts):
            given = f"{len(images)} images but {len(prompts)} prompts given"
            raise RewardError(f"reward '{self.name}': {given}, expected one prompt per image")
        if not images:
            return np.zeros(0)
        try:
            # A reward that edits its images must not change what other rewards or people see.
            copies = [image.copy() for image in images]
            with blamed_on(self.name):
                return self._checked(self.reward.score(copies, list(prompts)), len(images))
        except RewardError as error:
            if not is_out_of_memory(error.__cause__):
                raise
            if len(images) == 1:
                raise RewardError(
                    f"{error} (with a single image): give the reward's model a smaller dtype, or "
                    "run it on another device"
                ) from error
        # Out of the handler: its traceback would keep the failed call's tensors alive.
        free_memory()
        half = len(images) // 2
        parts = [self.score(images[i], prompts[i]) for i in (slice(half), slice(half, None))]
        return np.concatenate(parts)

    def _checked(self, returned: object, count: int) -> NDArray[np.float64]:
        """Return the scores as (count,) float64, or raise RewardError."""
        expected = f"expected ({count},) of float32 or float64, one score per image"
        try:
            scores = score_array(returned)
        except ValueError as error:
            raise self._broken(f"{error}, {expected}") from error
        if scores.shape != (count,):
            raise self._broken(f"shape {scores.shape} of {np.asarray(returned).dtype}, {expected}")
        if (np.abs(scores) > LARGEST_SCORE).any():
            raise self._broken("an infinite score, expected finite numbers, or NaN for no score")
        return scores

    def _broken(self, given: str) -> RewardError:
        return RewardError(f"reward '{self.name}': returned {given}")


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
        of = f"reward '{name}': " if name else ""
        own = reward if isinstance(reward, type) else type(reward)
        given = f"{'the class' if own is reward else 'an object of class'} {own.__name__}"
        raise RewardError(
            f"{of}{given} given, expected an object with score(images, prompts) -> (B,) float32"
        )
    own_name = getattr(reward, "name", None) or type(reward).__name__
    return CheckedReward(reward, name or own_name, str(getattr(reward, "scale", "unnamed")))
