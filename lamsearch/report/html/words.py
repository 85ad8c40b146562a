"""What a summary says, in sentences for a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lamsearch.report.html.numbers import decimals, interval, number
from lamsearch.report.rows import beta_text, effective_beta

if TYPE_CHECKING:
    from lamsearch.bayesopt.recommendation import Gain
    from lamsearch.report.people import People
    from lamsearch.report.summary import Note, Summary

_BEGINS_WITH_A_NAME = ("tracked_falls", "agreement")
"""Codes of notes whose first word is a name or a symbol, which stays as it is written."""

_FEWEST_LAM_DECIMALS = 3


def lam_decimals(summary: Summary) -> int:
    """Return the decimals that tell the λs of a search apart."""
    low, high = summary.surrogate.bounds
    return max(decimals(high - low) + 1, _FEWEST_LAM_DECIMALS)


def score_decimals(summary: Summary) -> int:
    """Return the decimals that show three digits of the differences between evaluations."""
    values = [evaluation.value for evaluation in summary.evaluations]
    return decimals(max(max(values) - min(values), 2 * summary.value_stderr))


def strength_interval(summary: Summary, beta: float) -> str:
    """Return the 95 % interval of β/λ*, the smaller strength first; none is above that of λ = 0."""
    low, high = summary.lam_interval
    weak, strong = (effective_beta(beta, max(lam, 0.0)) for lam in (high, low))
    return f"{beta_text(weak)} to {beta_text(strong)}"


def answer_sentences(summary: Summary) -> Iterator[str]:
    """Yield what the answer is and how sure it is, a sentence each."""
    places, reward = score_decimals(summary), summary.reward or "score"
    allowed = " where the constraint holds" if summary.constraint is not None else ""
    lam = number(summary.lam, lam_decimals(summary))
    emulates = ""
    if summary.beta is not None:
        strength = beta_text(summary.effective_beta)
        emulates = f": sampling there emulates a model aligned at β/λ* = {strength}"
    yield f"The mean {reward} is highest{allowed} at λ* = {lam}{emulates}."
    yield (
        f"New images of the same kind would earn {number(summary.value, places)} on average, "
        f"with a standard error of {number(summary.value_stderr, places)}."
    )
    for gain, other in (
        (summary.gain_over_reference, "the reference (λ = 0)"),
        (summary.gain_over_aligned, "the aligned model (λ = 1)"),
    ):
        if gain is not None:
            yield _gain(gain, other, places)
    if summary.people is not None:
        yield _people(summary.people, lam_decimals(summary))
    within = summary.within
    yield (
        f"With probability {within.probability:.2f}, under the model, no λ is better by more than "
        f"{within.epsilon:.2g}."
    )
    if summary.constraint is not None:
        check = summary.constraint
        yield (
            f"The constraint {check.text} holds at λ* with probability {check.probability:.3f} "
            f"({check.confidence:g} was required)."
        )


def unbroken(text: str) -> str:
    """Return a text that is not broken between a number and what belongs to it."""
    for loose, tight in ((" %", "\u00a0%"), ("= ", "=\u00a0"), (" =", "\u00a0=")):
        text = text.replace(loose, tight)
    return text


def note_text(note: Note) -> str:
    """Return a note as a sentence of its own."""
    begin = note.text[:1] if note.code in _BEGINS_WITH_A_NAME else note.text[:1].upper()
    end = "" if note.text.endswith((".", "?")) else "."
    return unbroken(f"{begin}{note.text[1:]}{end}")


def _people(people: People, places: int) -> str:
    limits = interval(people.lam_interval, places)
    votes = "one vote" if people.votes == 1 else f"{people.votes} votes"
    return (
        f"People who compared the images ({votes}) like λ = {number(people.lam, places)} best "
        f"(95 % interval {limits})."
    )


def _gain(gain: Gain, other: str, places: int) -> str:
    low, high = gain.interval
    if low <= 0 <= high:
        change = number(gain.value, places, signed=True)
        limits = interval(gain.interval, places, signed=True)
        return f"λ* cannot be told from {other}: {change} (95 % interval {limits})."
    verb = "beats" if low > 0 else "is worse than"
    nearer, farther = sorted((abs(low), abs(high)))
    limits = interval((nearer, farther), places)
    return f"λ* {verb} {other} by {number(abs(gain.value), places)} (95 % interval {limits})."
