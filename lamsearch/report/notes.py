"""The caveats of an answer, as data: what a reader must know before trusting λ*."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamsearch.bayesopt.config import Tolerance
from lamsearch.report.rows import EvaluatedLam
from lamsearch.report.summary import Note, Summary
from lamsearch.report.tracked_rewards import tracked_names
from lamsearch.study.history import History, score_rows
from lamsearch.study.proposal import Budget
from lamsearch.study.records import Evaluation
from lamsearch.surrogate.model import Surrogate

ENOUGH_IMAGES = 32
"""With fewer, intervals hold less often than stated (`examples/benchmarks/images.py`)."""

_WIDER = 0.5
"""How far beyond a bound to look next, in units of the bounds' width."""

_FLAT = 1e-6
"""A curve that rises by less towards a bound, in units of its range, is flat there."""


def answer_notes(summary: Summary) -> Iterator[Note]:
    """Yield the notes that follow from the other fields of a summary."""
    yield from bound_note(summary.surrogate, summary.lam)
    if summary.limited_by == "images":
        text = "limited by image noise: more images per λ (--images) would help, more λs would not"
        yield Note("image_noise", text)
    yield from few_images_note(summary.evaluations)
    if summary.unfinished:
        one = summary.unfinished == 1
        running = f"{summary.unfinished} more evaluation{'' if one else 's'} running or interrupted"
        yield Note(
            "unfinished",
            f"{running}: the answer may still change, run again to finish",
        )
    for tracked in summary.others:
        if tracked.falls:
            text = f"{tracked.name} falls at λ*: all of its interval is below 0; reward hacking?"
            yield Note("tracked_falls", text)
    yield from onset_note(summary)
    check = summary.constraint
    if check is not None and not check.met:
        yield Note(
            "constraint_unmet",
            f"no λ is known to meet '{check.text}' with the required probability "
            f"{check.confidence:g}: λ* is the most probable",
        )
    yield from people_note(summary)
    if summary.beta is None:
        of_anchor = f" for anchor '{summary.anchor}'" if summary.anchor else ""
        text = f"no β is given{of_anchor}: the answer is λ* alone, without a KL strength β/λ*"
        yield Note("no_beta", text)


def people_note(summary: Summary) -> Iterator[Note]:
    """Yield a note if people's interval of λ* and the reward's have nothing in common."""
    people, (low, high) = summary.people, summary.lam_interval
    if people is None or (people.lam_interval[0] <= high and low <= people.lam_interval[1]):
        return
    direction = "less" if people.lam_interval[1] < low else "more"
    yield Note(
        "people",
        f"people prefer {direction} alignment than the reward: their λ* {people.lam:.3f} has an "
        "interval that lies outside of the reward's",
    )


def onset_note(summary: Summary) -> Iterator[Note]:
    """Yield a note if the images have left the reference's range at λ*."""
    onset = summary.onset
    if onset is None or summary.lam < onset.lam:
        return
    low, high = onset.interval
    shifts = ", ".join(f"{shift.name} {shift.largest:+.1f}" for shift in onset.shifts)
    yield Note(
        "images_drift",
        f"from λ = {onset.lam:.2f} (95 % interval {low:.2f} to {high:.2f}, {onset.images} images) "
        f"the images leave the reference's range ({shifts} of its standard deviations at the "
        "largest λ) while the reward is higher: look at them; reward hacking?",
    )


def bound_note(surrogate: Surrogate, lam: float) -> Iterator[Note]:
    """Yield a note if λ* is a bound that is no natural end, with the curve still rising there.

    The reference, λ = 0, is a natural end. The aligned model, λ = 1, is not: beyond it λ
    extrapolates.
    """
    low, high = surrogate.bounds
    if lam not in (low, high) or lam == low == 0 or not _rises_to(surrogate, lam):
        return
    further = _WIDER * (high - low)
    wide_low, wide_high = (low - further, high) if lam == low else (low, high + further)
    if low > 0:
        wide_low = max(wide_low, 0.0)
    side = "lower" if lam == low else "upper"
    beyond = "; beyond 1, λ extrapolates" if wide_high > 1 >= high else ""
    yield Note(
        "bound",
        f"λ* is the {side} bound {lam:g}, where the curve still rises: the best λ may lie beyond, "
        f"search it with --bounds {wide_low:.6g} {wide_high:.6g} in a new --study{beyond}",
    )


def _rises_to(surrogate: Surrogate, bound: float) -> bool:
    """Whether the posterior mean rises from a little inside of a bound up to it."""
    low, high = surrogate.bounds
    inside = bound + (0.02 if bound == low else -0.02) * (high - low)
    evaluated = surrogate.observations.lams
    means = surrogate.mean(evaluated)
    at_bound, before = surrogate.mean(evaluated.new_tensor([bound, inside])).tolist()
    return bool(at_bound - before > _FLAT * (means.max() - means.min()).item())


def few_images_note(evaluations: Sequence[EvaluatedLam]) -> Iterator[Note]:
    """Yield a note if some λ has fewer images than intervals need; plain numbers have none."""
    usable = min((e.images - e.missing for e in evaluations if e.images > 1), default=0)
    if 0 < usable < ENOUGH_IMAGES:
        yield Note(
            "few_images",
            f"few images ({usable} at some λ): below {ENOUGH_IMAGES} the intervals hold less often "
            "than stated",
        )


def failed_note(history: History) -> Note | None:
    """Return the note of the evaluations that failed, None if a score was found at every λ."""
    scored = {each.lam for each in history.finished}
    lams: dict[str, list[str]] = {}
    for each in history.failed:
        if each.lam not in scored:
            lams.setdefault(each.reason or "no reason stored", []).append(f"{each.lam:g}")
    if not lams:
        return None
    told = "; ".join(f"λ = {', '.join(dict.fromkeys(at))} ({why})" for why, at in lams.items())
    return Note("failed", f"evaluations failed, and the answer does not rest on them: {told}")


def no_manifest_note(manifest: Mapping[str, Any]) -> Note | None:
    """Return the note of a study that does not say what its scores depend on."""
    if manifest:
        return None
    return Note(
        "no_manifest",
        "the study has no manifest: another program made it, perhaps an Optuna script of yours, or "
        "the manifest was removed; lamsearch does not know what its scores are",
    )


def constant_notes(evaluations: Sequence[Evaluation], reward: str | None) -> Iterator[Note]:
    """Yield a note for each reward that tells no λ from another.

    Args:
        evaluations: The finished evaluations.
        reward: Name of the objective, None for a function's scores.
    """
    if len({each.lam for each in evaluations}) < 2:
        return
    for name in (None, *tracked_names(evaluations)):
        rows = score_rows(evaluations, name)
        if not is_constant(rows):
            continue
        shown = name or reward or "score"
        found = np.concatenate(rows)
        every = np.unique(found[~np.isnan(found)])
        what = f"every score is {every[0]:g}" if len(every) == 1 else "every image scores the same"
        meaning = "" if name else ", and λ* means nothing"
        text = f"{shown} is constant: {what} at every λ, so it tells no λ from another{meaning}"
        yield Note("constant", text)


def is_constant(rows: Sequence[NDArray[np.float64]]) -> bool:
    """Return whether every image has one score at all λs; rows of one number are images too."""
    if len({len(row) for row in rows}) > 1:
        return False
    table = np.stack(rows)
    scored = ~np.isnan(table)
    highest = np.where(scored, table, -np.inf).max(axis=0)
    lowest = np.where(scored, table, np.inf).min(axis=0)
    # An image that was scored at one λ only compares nothing.
    compared = scored.sum(axis=0) > 1
    return bool(compared.any() and (highest == lowest)[compared].all())


def stopped_early(left: int, budget: Budget, *, epsilon: Tolerance) -> Note:
    """Return the note of a search that ended before its budget because it is sure enough."""
    used = budget.amount - left
    unit = "images" if budget.counts_images else "evaluations"
    return Note(
        "stopped_early",
        f"stopped after {used} of {budget.amount} {unit}: sure enough for --epsilon {epsilon.text}",
    )


def unconfirmed() -> Note:
    """Return the note of a confirmation that has to wait for other workers."""
    return Note(
        "unconfirmed",
        "not confirmed yet, evaluations are under way: the last worker to finish confirms, or run "
        "this again",
    )
