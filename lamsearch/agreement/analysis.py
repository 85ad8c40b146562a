"""Scores of a family → what they say about β/λ, reward by reward."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from deradiff.agreement import Comparison, Peak, compare_peaks, find_peak, summarize_agreement
from lamsearch.agreement.results import (
    EmulatedPeak,
    Emulation,
    FamilyAgreement,
    MeanScore,
    RewardAgreement,
    Trust,
)
from lamsearch.agreement.scores import FamilyScores, Scores
from lamsearch.agreement.words import sentence
from lamsearch.errors import StudyError
from lamsearch.report.summary import Note
from lamsearch.study.database import Study
from lamsearch.study.urls import redacted_url

RESAMPLES = 10_000
GOOD_SHARE = 0.10
"""An emulation is good if it misses by at most this share of the curve's range."""


def read_agreement(study: Study) -> FamilyAgreement:
    """Return what a stored agreement says.

    Raises:
        StudyError: If the study is no agreement, or the reference or an anchor itself has no
            scores yet.
    """
    scores = FamilyScores.read(study)
    rewards = study.manifest.get("rewards", [])
    return FamilyAgreement(
        study=study.name,
        storage=redacted_url(study.storage),
        anchors=tuple(scores.betas),
        images=scores.images,
        seconds=scores.seconds,
        rewards=tuple(
            analyse(scores, name, is_first=name == rewards[0], study=study.name) for name in rewards
        ),
        notes=tuple(_notes(scores)),
    )


def analyse(scores: FamilyScores, reward: str, *, is_first: bool, study: str) -> RewardAgreement:
    """Return what one reward says.

    Args:
        scores: Of the family.
        reward: Name of the reward.
        is_first: Whether it is the reward that the evaluations' values are of.
        study: Name of the study, for messages.

    Raises:
        StudyError: If the reference or an anchor itself has no scores, or all have the same mean.
    """
    key, names = (None if is_first else reward), list(scores.betas)
    rows = [scores.reference(key), *(scores.original(name, key) for name in names)]
    reference, *originals = [row for row in rows if row is not None]
    if len(originals) < len(names):
        raise StudyError(
            f"agreement '{study}' is not finished: the reference has no {reward} yet; run it again "
            "to go on, or wait for other workers"
        )
    members = _members(scores, reference, originals)
    curve_range = float(np.ptp([m.value for m in members]))
    if not curve_range > 0:
        raise StudyError(
            f"agreement '{study}': all models have the same mean {reward}, so there is no curve to "
            "compare with: check the reward"
        )
    comparisons = _comparisons(scores, dict(zip(names, originals, strict=True)), key)
    emulations = tuple(_emulation(names, c) for names, c in comparisons.items())
    generator = np.random.default_rng(0)
    statistics = summarize_agreement(
        list(comparisons.values()),
        generator=generator,
        curve_range=curve_range,
        resamples=RESAMPLES,
    )
    found = RewardAgreement(
        reward=reward,
        sentence="",
        members=members,
        emulations=emulations,
        curve_range=curve_range,
        statistics=statistics,
        trust=_trust(emulations, curve_range),
        peak=_peak(scores, originals, generator),
        emulated_peaks=tuple(_emulated_peaks(scores, originals, key, generator)),
    )
    return dataclasses.replace(found, sentence=sentence(found))


def _members(
    scores: FamilyScores, reference: Scores, originals: Sequence[Scores]
) -> tuple[MeanScore, ...]:
    """Return the means by falling β, the reference first."""
    found = [_mean(None, math.inf, reference)]
    for (name, beta), row in zip(
        reversed(list(scores.betas.items())), reversed(originals), strict=True
    ):
        found.append(_mean(name, beta, row))
    return tuple(found)


def _mean(anchor: str | None, beta: float, row: Scores) -> MeanScore:
    present = row[~np.isnan(row)]
    n = len(present)
    stderr = float(present.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return MeanScore(anchor, beta, float(present.mean()), stderr, n)


def _comparisons(
    scores: FamilyScores, originals: dict[str, Scores], key: str | None
) -> dict[tuple[str, str], Comparison]:
    """Return the comparisons that have common images, by anchor and target."""
    found = {}
    for anchor, lams in scores.lams.items():
        for target, lam in lams.items():
            row = scores.at(anchor, lam, key)
            if target == anchor or row is None or np.isnan(row + originals[target]).all():
                continue
            found[anchor, target] = Comparison.from_scores(
                scores.betas[anchor],
                scores.betas[target],
                original=originals[target],
                approximated=row,
            )
    if not found:
        raise StudyError("no anchor was evaluated at the strength of another yet: run it again")
    return found


def _emulation(names: tuple[str, str], comparison: Comparison) -> Emulation:
    paired = comparison.paired_difference()
    assert paired is not None
    return Emulation(
        *names,
        beta_anchor=comparison.beta_anchor,
        beta_target=comparison.beta_target,
        lam=comparison.lam,
        original=comparison.original,
        approximated=comparison.approximated,
        difference=paired.mean,
        difference_stderr=paired.standard_error,
        correlation=paired.correlation,
        images=paired.images,
    )


def _trust(emulations: Sequence[Emulation], curve_range: float) -> Trust:
    """Return the ranges of λ around 1 in which every difference, and its interval, is small."""
    tolerance = GOOD_SHARE * curve_range
    lams = [e.lam for e in emulations]
    bad = [e.lam for e in emulations if abs(e.difference) > tolerance]
    unsure = [e.lam for e in emulations if _largest_difference(e) > tolerance]
    low, high = _range_without(bad, lams)
    surely_low, surely_high = _range_without(unsure, lams)
    return Trust(low, high, surely_low, surely_high, tolerance, GOOD_SHARE)


def _largest_difference(emulation: Emulation) -> float:
    """Return the end of a difference's 95 % interval that is farther from 0."""
    stderr = emulation.difference_stderr
    return math.inf if stderr is None else abs(emulation.difference) + 1.96 * stderr


def _range_without(bad: Sequence[float], lams: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and largest λ around 1 before the first bad one on either side."""
    floor = max((lam for lam in bad if lam < 1), default=0.0)
    ceiling = min((lam for lam in bad if lam > 1), default=math.inf)
    within = [1.0, *(lam for lam in lams if floor < lam < ceiling)]
    return min(within), max(within)


def _peak(
    scores: FamilyScores, originals: Sequence[Scores], generator: np.random.Generator
) -> Peak | None:
    betas, common = list(scores.betas.values()), _common(originals)
    if len(betas) < 3 or not common.any():
        return None
    values = np.stack(originals)[:, common]
    return find_peak(betas, values, generator=generator, resamples=RESAMPLES)


def _common(rows: Sequence[Scores]) -> NDArray[np.bool_]:
    """Return which images all rows have: strengths are compared on the same ones."""
    common: NDArray[np.bool_] = np.asarray(np.isfinite(np.stack(rows)).all(axis=0))
    return common


def _emulated_peaks(
    scores: FamilyScores,
    originals: Sequence[Scores],
    key: str | None,
    generator: np.random.Generator,
) -> Iterator[EmulatedPeak]:
    betas = list(scores.betas.values())
    for anchor, beta in scores.betas.items():
        rows = [scores.at(anchor, lam, key) for lam in scores.lams[anchor].values()]
        present = [row for row in rows if row is not None]
        if len(betas) < 3 or len(present) < len(rows):
            continue
        common = _common([*originals, *present])
        if common.any():
            shift = compare_peaks(
                betas,
                np.stack(originals)[:, common],
                np.stack(present)[:, common],
                generator=generator,
                resamples=RESAMPLES,
            )
            yield EmulatedPeak(anchor, beta, shift)


def _notes(scores: FamilyScores) -> list[Note]:
    absent = [f"{anchor} at λ = {lam:.4g}" for anchor, lam in sorted(set(scores.absent()))]
    absent += [f"{anchor} itself" for anchor in scores.pending]
    if not absent:
        return []
    more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
    return [
        Note(
            "unfinished",
            f"without all of their images: {', '.join(absent[:3])}{more}; other workers are at "
            "them, or run it again, or no image was usable there",
        )
    ]
