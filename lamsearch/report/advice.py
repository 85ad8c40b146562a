"""What to do with an answer, as plain data: keep λ*, export it, retrain, or look closer.

| symbol | code | meaning |
|---|---|---|
| g, s | `Gain` | J(λ*) − J(1), what λ* earns over the aligned model, and its standard error |
| m, e | `EmulationError` | mean and deviation of: realigned model less real one |
| Φ | `probability_above_zero` | normal distribution function |

A model that is aligned from scratch at β/λ* earns J(λ*) less what the emulation is off by, so its
gain over the aligned model is normal with mean g − m and variance s² + e², and above 0 with the
probability Φ((g − m)/√(s² + e²)). It needs one pass of a denoiser per image where λ* needs two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from scipy.special import ndtr

from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.costs import CostsConfig
from lamsearch.report.json_form import to_json
from lamsearch.report.more_images import (
    SECONDS_PER_HOUR,
    MoreImages,
    find_more_images,
    seconds_per_image,
)
from lamsearch.report.onset import Onset
from lamsearch.report.rows import effective_beta
from lamsearch.report.summary import Summary

Action = Literal["aligned", "keep", "export", "retrain"]
Verdict = Literal["keep", "aligned", "reference", "more_images"]

SURE = 0.95
_NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True)
class EmulationError:
    """By how much realigned models miss models aligned from scratch, in an agreement.

    Attributes:
        study: Name of the agreement.
        mean: Mean over pairs of anchors of the realigned mean less the real one.
        deviation: Standard deviation of these differences.
        pairs: Number of pairs, with λs near λ* where there are any.
    """

    study: str
    mean: float
    deviation: float
    pairs: int


@dataclass(frozen=True)
class Choice:
    """One thing to do.

    Attributes:
        action: "aligned": use the aligned model; "keep": sample at λ* with both models; "export":
            merge the weights into one model; "retrain": align from scratch at β/λ*.
        passes: Passes of a denoiser per step of an image.
        gain: Expected gain over the aligned model; None where it is not known beforehand.
        probability: That this gain is above 0.
        gpu_hours: What it costs once; None where that is not known.
        price: The same as money.
    """

    action: Action
    passes: int
    gain: Gain | None
    probability: float | None
    gpu_hours: float | None
    price: float | None


@dataclass(frozen=True)
class Advice:
    """What to do with an answer.

    Attributes:
        study: Name of the study.
        reward: Name of the reward, None for a function of one's own.
        verdict: "keep" λ*; "aligned" or "reference": use that model, λ* is not better; or
            "more_images": too uncertain to tell.
        lam: λ*.
        effective_beta: β/λ*; None where there is no β.
        beta_interval: Strengths that are worth trying, the smaller first: those of the 95 %
            interval of λ*; infinite where that contains 0.
        choices: What can be done with it.
        left: E[max J − J(λ*)], what a search for a still better strength would find on average.
        left_probability: That it would find more than ε.
        epsilon: ε, in the units of the scores.
        emulation: What an agreement says of β/λ, None where none is stored.
        break_even_images: Images after which a retrained model has paid for itself, or later: it
            saves one of two passes, at most half of an image's time. None without a cost.
        more_images: What would halve the uncertainty; None where nothing is known of images.
        seconds_per_image: As measured in the study; None where that is not known.
        onset: The alarm for reward hacking, if it was raised at or below λ*.
        sentences: The same in words.
    """

    study: str
    reward: str | None
    verdict: Verdict
    lam: float
    effective_beta: float | None
    beta_interval: tuple[float, float] | None
    choices: tuple[Choice, ...]
    left: float
    left_probability: float
    epsilon: float
    emulation: EmulationError | None
    break_even_images: int | None
    more_images: MoreImages | None
    seconds_per_image: float | None
    onset: Onset | None
    sentences: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; an infinite β is null."""
        return to_json(self)

    def choice(self, action: Action) -> Choice | None:
        """Return one of the choices, None where it is none."""
        return next((each for each in self.choices if each.action == action), None)


def advise(
    summary: Summary,
    *,
    costs: CostsConfig,
    emulation: EmulationError | None = None,
    continues: bool = False,
) -> Advice:
    """Return what to do with an answer.

    Args:
        summary: The answer.
        costs: What the reader pays.
        emulation: What an agreement of the same reference and reward says.
        continues: Whether the study can go on with more images.
    """
    seconds = seconds_per_image(summary)
    choices = tuple(_choices(summary, costs, emulation))
    more = find_more_images(summary, costs, continues=continues)
    onset = summary.onset
    return Advice(
        study=summary.study,
        reward=summary.reward,
        verdict=_verdict(summary, choices, more),
        lam=summary.lam,
        effective_beta=summary.effective_beta,
        beta_interval=_beta_interval(summary),
        choices=choices,
        left=summary.within.expected_loss,
        left_probability=1 - summary.within.probability,
        epsilon=summary.within.epsilon,
        emulation=emulation,
        break_even_images=_break_even(summary, costs, seconds),
        more_images=more,
        seconds_per_image=seconds,
        onset=onset if onset is not None and onset.lam <= summary.lam else None,
    )


def passes(lam: float) -> int:
    """Return how many denoisers run at λ: a weight of exactly 0 costs nothing."""
    return 1 if lam in (0.0, 1.0) else 2


def retrained_gain(gain: Gain, emulation: EmulationError | None) -> Gain:
    """Return what a model aligned from scratch at β/λ* earns over the aligned model."""
    if emulation is None:
        return gain
    value, stderr = gain.value - emulation.mean, math.hypot(gain.stderr, emulation.deviation)
    half = _NORMAL_QUANTILE * stderr
    return Gain(value, stderr, (value - half, value + half))


def probability_above_zero(gain: Gain) -> float:
    """Return Φ(g/s); where nothing is uncertain, 1 or 0, and 1/2 for no difference at all."""
    if gain.stderr > 0:
        return float(ndtr(gain.value / gain.stderr))
    return 0.5 if gain.value == 0 else float(gain.value > 0)


def _choices(
    summary: Summary, costs: CostsConfig, emulation: EmulationError | None
) -> Iterator[Choice]:
    gain = summary.gain_over_aligned
    chance = None if gain is None else probability_above_zero(gain)
    if gain is not None:
        yield Choice("aligned", 1, Gain(0.0, 0.0, (0.0, 0.0)), None, 0.0, costs.price_of(0.0))
    yield Choice("keep", passes(summary.lam), gain, chance, 0.0, costs.price_of(0.0))
    if passes(summary.lam) == 1:
        return
    if summary.anchor is not None:
        yield Choice("export", 1, None, None, 0.0, costs.price_of(0.0))
    if summary.effective_beta is not None and summary.lam > 0:
        hours = None if costs.alignment_cost is None else costs.alignment_cost.hours
        retrained = None if gain is None else retrained_gain(gain, emulation)
        chance = None if retrained is None else probability_above_zero(retrained)
        yield Choice("retrain", 1, retrained, chance, hours, costs.price_of(hours))


def _verdict(summary: Summary, choices: tuple[Choice, ...], more: MoreImages | None) -> Verdict:
    if summary.lam <= 0:
        return "reference"
    keep = next(each for each in choices if each.action == "keep")
    if keep.probability is None or keep.probability >= SURE:
        return "keep"
    can_tell = more is not None and more.factor is not None and keep.probability > 0.5
    return "more_images" if can_tell else "aligned"


def _beta_interval(summary: Summary) -> tuple[float, float] | None:
    if summary.beta is None:
        return None
    low, high = (max(lam, 0.0) for lam in summary.lam_interval)
    weak, strong = effective_beta(summary.beta, high), effective_beta(summary.beta, low)
    assert weak is not None
    assert strong is not None
    return weak, strong


def _break_even(summary: Summary, costs: CostsConfig, seconds: float | None) -> int | None:
    cost = costs.alignment_cost
    if cost is None or seconds is None or summary.beta is None or passes(summary.lam) == 1:
        return None
    return math.ceil(cost.hours * SECONDS_PER_HOUR / (seconds / 2))
