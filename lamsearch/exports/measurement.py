"""How far one set of weights is from the exact mixture, on the same prompts and seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState
from PIL.Image import Image

import deradiff
from lamsearch.errors import EvaluationError
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.loading import Models
from lamsearch.report.confirmation import paired_difference
from lamsearch.report.exported import Verdict, equality
from lamsearch.study.records import Evaluation


@dataclass(frozen=True)
class Measurement:
    """An export against the exact mixture at the same λ, on the same images.

    Attributes:
        reward: The reward.
        images: Number of images that have both scores.
        exact: Mean score of the exact mixture.
        exported: Mean score of the export.
        difference: Mean paired difference, the export less the mixture.
        stderr: Its standard error.
        interval: Its 95 % interval, by Student's t.
        epsilon: Difference within which the two count as equal.
        image_distance: Root mean square difference of the pixels, which lie in [0, 1], averaged
            over the images.
        reference_distance: The same between the reference and the mixture, as a yardstick.
    """

    reward: str
    images: int
    exact: float
    exported: float
    difference: float
    stderr: float
    interval: tuple[float, float]
    epsilon: float
    image_distance: float
    reference_distance: float

    @property
    def verdict(self) -> Verdict:
        """Whether the whole interval lies within ε, outside of it, or neither."""
        return equality(self.interval, self.epsilon)

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        low, high = self.interval
        words = {
            "equal": f"equal to the exact mixture within ε = {self.epsilon:.3g}",
            "different": f"not equal to the exact mixture: it differs by more than ε = "
            f"{self.epsilon:.3g}",
            "undecided": f"not shown to be equal to the exact mixture within ε = "
            f"{self.epsilon:.3g}",
        }
        return (
            f"mean {self.reward} {self.exported:.5f}, {self.difference:+.5f} against the exact "
            f"mixture (95 % interval {low:+.5f} to {high:+.5f}, {self.images} images): "
            f"{words[self.verdict]}. Image distance {self.image_distance:.4f} of 1, where the "
            f"reference is at {self.reference_distance:.4f}"
        )


@dataclass(frozen=True)
class Sampled:
    """Images of one model, in the order of the plan.

    Attributes:
        scores: (m,), NaN = missing.
        images: m images, None = missing.
    """

    scores: NDArray[np.float64]
    images: Sequence[Image | None]


def measure(
    models: Models,
    plan: Sequence[PlannedImage],
    *,
    lam: float,
    exported: deradiff.Anchor,
    epsilon: float,
    say: Callable[[str], None],
) -> Measurement:
    """Sample the plan from the exact mixture, from the export and from the reference, and compare.

    Args:
        models: The anchor and the reward.
        plan: The images.
        lam: λ of the mixture.
        exported: An anchor whose aligned model is the export: λ = 1 runs it alone.
        epsilon: Difference within which the two count as equal.
        say: Told what is going on.

    Raises:
        EvaluationError: If fewer than two images have both scores.
    """
    say(f"measuring: {len(plan)} images each of the exact mixture, the export and the reference")
    exact = sample_plan(models, plan, lam)
    other = sample_plan(dataclasses.replace(models, anchor=exported), plan, 1.0)
    reference = sample_plan(models, plan, 0.0)
    compared = paired_difference(other.scores, exact.scores)
    if compared is None:
        raise EvaluationError("fewer than two images have a score with both models")
    value, stderr, interval, count = compared
    both = ~np.isnan(other.scores - exact.scores)
    return Measurement(
        reward=models.panel.objective.text,
        images=count,
        exact=float(exact.scores[both].mean()),
        exported=float(other.scores[both].mean()),
        difference=value,
        stderr=stderr,
        interval=interval,
        epsilon=epsilon,
        image_distance=image_distance(other.images, exact.images),
        reference_distance=image_distance(reference.images, exact.images),
    )


def sample_plan(models: Models, plan: Sequence[PlannedImage], lam: float) -> Sampled:
    """Return the scored images of a plan at λ."""
    images: dict[int, Image | None] = {}
    scores: dict[int, float] = {}

    def keep(_: float, ids: Sequence[int], batch: Sequence[Image | None]) -> None:
        images.update(zip(ids, batch, strict=True))

    every = ((0, len(plan)),)
    evaluation = Evaluation(0, lam, TrialState.RUNNING, {}, 0.0, images=every)
    with models.evaluation(plan, keep) as sampling:
        for batch in sampling.batches(evaluation):
            scores.update(zip(batch.image_ids, batch.scores, strict=True))
    ids = range(len(plan))
    return Sampled(np.array([scores[i] for i in ids]), [images[i] for i in ids])


def image_distance(ours: Sequence[Image | None], theirs: Sequence[Image | None]) -> float:
    """Return the mean over pairs of the root mean square of their pixels' difference, in [0, 1]."""
    found = [
        math.sqrt(float(np.square(_pixels(a) - _pixels(b)).mean()))
        for a, b in zip(ours, theirs, strict=True)
        if a is not None and b is not None
    ]
    return float(np.mean(found)) if found else math.nan


def _pixels(image: Image) -> NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64) / 255
