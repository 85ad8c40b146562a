"""What to do with an answer, as plain data: keep λ*, export it, retrain, or look closer.

Each choice has its gain over the aligned model (`lamsearch.report.gains`) and its price. λ* needs
two passes of a denoiser per step of an image, the others one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.costs import CostsConfig
from lamsearch.report.exported import ExportDifference
from lamsearch.report.gains import (
    EmulationError,
    exported_gain,
    probability_above_zero,
    retrained_gain,
)
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
Verdict = Literal["keep", "export", "aligned", "reference", "more_images"]

SURE = 0.95


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
        verdict: "keep" λ*; "export" it, since one set of weights earns the same; "aligned" or
            "reference": use that model, λ* is not better; or "more_images": too uncertain to tell.
        lam: λ*.
        effective_beta: β/λ*; None where there is no β.
        beta_interval: Strengths that are worth trying, the smaller first: those of the 95 %
            interval of λ*; infinite where that contains 0.
        choices: What can be done with it.
        left: E[max J − J(λ*)], what a search for a still better strength would find on average.
        left_probability: That it would find more than ε.
        epsilon: ε, in the units of the scores.
        emulation: What an agreement says of β/λ, None where none is stored.
        export: What an export at λ* earns against the mixture, None where none was measured.
        break_even_images: Images after which a retrained model has paid for itself, or later: it
            saves one of two passes. None without a cost, and where an export saves the same.
        more_images: What would halve the uncertainty; None where nothing is known of images.
        seconds_per_image: As measured in the study; None where that is not known.
        onset: The alarm for reward hacking, if it was raised at or below λ*.
        constraint: What λ* is known to meet beside; None for nothing.
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
    export: ExportDifference | None
    break_even_images: int | None
    more_images: MoreImages | None
    seconds_per_image: float | None
    onset: Onset | None
    constraint: str | None
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
    export: ExportDifference | None = None,
    continues: bool = False,
) -> Advice:
    """Return what to do with an answer.

    Args:
        summary: The answer.
        costs: What the reader pays.
        emulation: What an agreement of the same reference and reward says.
        export: What an export at λ* was measured to earn against the mixture.
        continues: Whether the study can go on with more images.
    """
    seconds = seconds_per_image(summary)
    choices = tuple(_choices(summary, costs, emulation, export))
    can_export = export is not None and export.is_equal and _is_sure(choices, "export")
    can_export = can_export and summary.constraint is None  # which no export was measured against
    more = find_more_images(summary, costs, continues=continues)
    onset, guard = summary.onset, summary.constraint
    return Advice(
        study=summary.study,
        reward=summary.reward,
        verdict=_verdict(summary, choices, more, can_export=can_export),
        lam=summary.lam,
        effective_beta=summary.effective_beta,
        beta_interval=_beta_interval(summary),
        choices=choices,
        left=summary.within.expected_loss,
        left_probability=1 - summary.within.probability,
        epsilon=summary.within.epsilon,
        emulation=emulation,
        export=export,
        break_even_images=None if can_export else _break_even(summary, costs),
        more_images=more,
        seconds_per_image=seconds,
        onset=onset if onset is not None and onset.lam <= summary.lam else None,
        constraint=guard.text if guard is not None and guard.met else None,
    )


def passes(lam: float) -> int:
    """Return how many denoisers run at λ: a weight of exactly 0 costs nothing."""
    return 1 if lam in (0.0, 1.0) else 2


def _choices(
    summary: Summary,
    costs: CostsConfig,
    emulation: EmulationError | None,
    export: ExportDifference | None,
) -> Iterator[Choice]:
    gain, free = summary.gain_over_aligned, costs.price_of(0.0)
    if gain is not None:
        yield Choice("aligned", 1, Gain(0.0, 0.0, (0.0, 0.0)), None, 0.0, free)
    yield Choice("keep", passes(summary.lam), gain, _chance(gain), 0.0, free)
    if passes(summary.lam) == 1:
        return
    if summary.anchor is not None:
        exported = None if gain is None or export is None else exported_gain(gain, export)
        yield Choice("export", 1, exported, _chance(exported), 0.0, free)
    if summary.effective_beta is not None and summary.lam > 0:
        hours = None if costs.alignment_cost is None else costs.alignment_cost.hours
        retrained = None if gain is None else retrained_gain(gain, emulation)
        yield Choice("retrain", 1, retrained, _chance(retrained), hours, costs.price_of(hours))


def _chance(gain: Gain | None) -> float | None:
    return None if gain is None else probability_above_zero(gain)


def _verdict(
    summary: Summary, choices: tuple[Choice, ...], more: MoreImages | None, *, can_export: bool
) -> Verdict:
    if summary.lam == 0:
        return "reference"
    keep = next(each for each in choices if each.action == "keep")
    # A constraint may leave the aligned model out, however much that earns.
    is_guarded = summary.constraint is not None and summary.lam != 1
    if is_guarded or _is_sure(choices, "keep"):
        return "export" if can_export and keep.passes == 2 else "keep"
    assert keep.probability is not None
    can_tell = more is not None and more.factor is not None and keep.probability > 0.5
    return "more_images" if can_tell else "aligned"


def _is_sure(choices: tuple[Choice, ...], action: Action) -> bool:
    """Return whether a choice earns more than the aligned model, or there is none to compare."""
    found = next((each for each in choices if each.action == action), None)
    return found is not None and (found.probability is None or found.probability >= SURE)


def _beta_interval(summary: Summary) -> tuple[float, float] | None:
    if summary.beta is None:
        return None
    low, high = (max(lam, 0.0) for lam in summary.lam_interval)
    weak, strong = effective_beta(summary.beta, high), effective_beta(summary.beta, low)
    assert weak is not None
    assert strong is not None
    return weak, strong


def _break_even(summary: Summary, costs: CostsConfig) -> int | None:
    """Return the images whose second pass takes as long as an alignment, at the least."""
    cost = costs.alignment_cost
    if cost is None or not summary.seconds or summary.beta is None or passes(summary.lam) == 1:
        return None
    # Not all of the time is the passes', so one takes less.
    run = sum(each.images * passes(each.lam) for each in summary.evaluations)
    return math.ceil(cost.hours * SECONDS_PER_HOUR / (summary.seconds / run))
