"""What an agreement says, as plain data; the fields are those of the command line's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deradiff.agreement import Agreement, Peak, PeakShift
from lamsearch.report.json_form import to_json
from lamsearch.report.summary import Note


@dataclass(frozen=True)
class MeanScore:
    """The mean score of one model aligned from scratch, or of the reference.

    Attributes:
        anchor: Name of the anchor; None for the reference.
        strength: Its β; infinite for the reference.
        value: The mean over the images that have a score.
        stderr: Its standard error; None with a single image.
        images: Number of images that have a score.
    """

    anchor: str | None
    strength: float
    value: float
    stderr: float | None
    images: int


@dataclass(frozen=True)
class Emulation:
    """One anchor, realigned to the strength of another, against that other.

    Attributes:
        anchor: Name of the realigned anchor.
        target: Name of the anchor that it emulates.
        beta_anchor: β_a.
        beta_target: β_t.
        lam: λ = β_a/β_t.
        original: Mean score of the target, aligned from scratch.
        approximated: Mean score of the realigned anchor, over the same images.
        difference: approximated − original, a paired difference.
        difference_stderr: Its standard error; None with a single image.
        correlation: Of the two models' scores over the images; None where there is none.
        images: Number of images that have a score under both.
    """

    anchor: str
    target: str
    beta_anchor: float
    beta_target: float
    lam: float
    original: float
    approximated: float
    difference: float
    difference_stderr: float | None
    correlation: float | None
    images: int


@dataclass(frozen=True)
class EmulatedPeak:
    """The best strength according to one realigned anchor.

    Attributes:
        anchor: Name of the anchor.
        beta_anchor: Its β.
        shift: Where its emulated curve has its maximum, against the from-scratch family.
    """

    anchor: str
    beta_anchor: float
    shift: PeakShift


@dataclass(frozen=True)
class Trust:
    """The range of λ around 1 in which every emulation is good.

    Attributes:
        low: Smallest tested λ of the range; 1 if there is none below 1.
        high: Largest tested λ of the range; 1 if there is none above 1.
        surely_low: As `low`, where a pair counts as good only if the 95 % interval of its
            difference is.
        surely_high: As `high`, likewise.
        tolerance: The largest difference that counts as good, in units of the reward.
        share: The same as a share of the curve's range.
    """

    low: float
    high: float
    surely_low: float
    surely_high: float
    tolerance: float
    share: float


@dataclass(frozen=True)
class RewardAgreement:
    """How far β/λ can be trusted within the family, as one reward sees it.

    Attributes:
        reward: Name of the reward.
        sentence: The result in words.
        members: Mean scores of the reference and of the models aligned from scratch, by falling β.
        emulations: Every anchor emulating every other, by β_a and then β_t.
        curve_range: Largest minus smallest of the members' means.
        statistics: Of λ < 1 and of λ > 1, apart (arXiv 2601.20198, A.8).
        trust: Range of λ that was good throughout.
        peak: The best strength of the from-scratch family, interpolated; None with fewer than
            three strengths.
        emulated_peaks: The same according to each anchor whose emulations are complete.
    """

    reward: str
    sentence: str
    members: tuple[MeanScore, ...]
    emulations: tuple[Emulation, ...]
    curve_range: float
    statistics: Agreement
    trust: Trust
    peak: Peak | None
    emulated_peaks: tuple[EmulatedPeak, ...]

    def emulation(self, anchor: MeanScore, target: MeanScore) -> Emulation | None:
        """Return how one member emulates another; None where that is not measured."""
        wanted = (anchor.anchor, target.anchor)
        return next((e for e in self.emulations if (e.anchor, e.target) == wanted), None)


@dataclass(frozen=True)
class FamilyAgreement:
    """How far β/λ can be trusted within a family of anchors.

    Attributes:
        study: Name of the study.
        storage: URL of its database without a password, None if in memory.
        anchors: Names of the anchors, by ascending β.
        images: Images that were requested of every model.
        seconds: Time spent on them, whenever that was.
        rewards: One entry per reward.
        notes: Caveats.
    """

    study: str
    storage: str | None
    anchors: tuple[str, ...]
    images: int
    seconds: float
    rewards: tuple[RewardAgreement, ...]
    notes: tuple[Note, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; an infinite β is null."""
        return to_json(self)
