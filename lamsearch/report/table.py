"""Summary → the table on the terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lamsearch.report.confirmation import Confirmation
from lamsearch.report.people import People
from lamsearch.report.rows import EvaluatedLam, beta_text, effective_beta
from lamsearch.report.summary import ConstraintCheck, Summary
from lamsearch.report.terminal import line
from lamsearch.report.tracked_rewards import TrackedReward

_LEAST_DIGITS, _MOST_DIGITS = 3, 12
"""Decimals of λ."""


def summary_table(summary: Summary) -> RenderableType:
    """Return the evaluations in the order of λ, and under them the answer."""
    table = Table(title=line(f"study {summary.study}"), title_justify="left", header_style="bold")
    others = dict.fromkeys(name for e in summary.evaluations for name in e.others)
    scores = (summary.reward or "score", "stderr", *others)
    strength = () if summary.beta is None else ("β/λ",)
    for heading in ("#", "λ", *strength, *scores, "images", "missing"):
        table.add_column(line(heading), justify="right", no_wrap=True)
    digits = lam_digits(summary)
    best = min(summary.evaluations, key=lambda e: abs(e.lam - summary.lam))
    for evaluation in sorted(summary.evaluations, key=lambda e: e.lam):
        cells = _cells(evaluation, digits=digits, has_beta=summary.beta is not None)
        table.add_row(*cells, style="green" if evaluation is best else "")
    return Group(table, line(""), *_answer(summary), *_guards(summary), *_notes(summary))


def lam_digits(summary: Summary) -> int:
    """Return the decimals of λ that tell the evaluations apart, and fit the width of the bounds."""
    low, high = summary.surrogate.bounds
    digits = max(_LEAST_DIGITS, _LEAST_DIGITS - math.floor(math.log10(high - low)) - 1)
    lams = {evaluation.lam for evaluation in summary.evaluations}
    while digits < _MOST_DIGITS and len({round(lam, digits) for lam in lams}) < len(lams):
        digits += 1
    return digits


def _strength(summary: Summary, beta: float) -> str:
    """Return β/λ* and its 95 % interval, the smaller strength first; none is above λ = 0's."""
    if summary.effective_beta is None:
        return "–   λ* < 0 emulates no strength"
    low, high = summary.lam_interval
    weak, strong = (effective_beta(beta, max(lam, 0.0)) for lam in (high, low))
    interval = f"{beta_text(weak)} to {beta_text(strong)}"
    return f"{beta_text(summary.effective_beta)}   95 % interval {interval}"


def _reward(summary: Summary) -> str:
    return f"mean {summary.reward}" if summary.reward else "mean score"


def _cells(evaluation: EvaluatedLam, *, digits: int, has_beta: bool) -> tuple[str, ...]:
    return (
        str(evaluation.number),
        f"{evaluation.lam:.{digits}f}",
        *((beta_text(evaluation.effective_beta),) if has_beta else ()),
        f"{evaluation.value:.5f}",
        _figure(evaluation.stderr),
        *(_figure(value) for value in evaluation.others.values()),
        str(evaluation.images),
        str(evaluation.missing),
    )


def _answer(summary: Summary) -> list[Text]:
    first, *others = answer_lines(summary)
    return [line(first, style="bold"), *map(line, others)]


def answer_lines(summary: Summary) -> list[str]:
    """Return the answer in lines of text: λ*, β/λ*, J(λ*) and its gains, with their intervals."""
    (low, high), digits = summary.lam_interval, lam_digits(summary)
    among = ", where the constraint holds" if summary.constraint is not None else ""
    interval = f"{low:.{digits}f} to {high:.{digits}f}"
    lines = [f"λ*    {summary.lam:.{digits}f}   95 % interval {interval}{among}"]
    if summary.beta is not None:
        lines.append(f"β/λ*  {_strength(summary, summary.beta)}")
    lines.append(
        f"{_reward(summary)} at λ*  {summary.value:.5f} ± {summary.value_stderr:.5f} (stderr)"
    )
    for other, gain in (("0", summary.gain_over_reference), ("1", summary.gain_over_aligned)):
        if gain is not None:
            lines.append(f"against λ = {other}  {_change(gain.value, gain.interval)}")
    within = summary.within
    allowed = " that the constraint allows" if summary.constraint is not None else ""
    lines.append(
        f"within {within.epsilon:.2g} of the best λ{allowed} with probability "
        f"{within.probability:.2f}, under the model"
    )
    observed = summary.best_observed
    lines.append(
        f"best observed  λ {observed.lam:.{digits}f} at {observed.value:.5f} "
        "(biased upward by noise)"
    )
    return lines


def answer_text(summary: Summary) -> str:
    """Return the answer and its notes as Markdown."""
    notes = [f"note: {note.text}" for note in summary.notes]
    return "\n\n".join([*answer_lines(summary), *notes])


def _guards(summary: Summary) -> list[Text]:
    """Return what speaks for or against the answer: votes, other rewards, held-out images."""
    people = summary.people
    lines = [] if people is None else [line(people_line(people, lam_digits(summary)))]
    lines += [_tracked(tracked) for tracked in summary.others]
    if summary.constraint is not None:
        lines.append(_constraint(summary.constraint))
    if summary.confirmation is not None:
        lines += _confirmation(summary.confirmation, summary)
    return lines


def people_line(people: People, digits: int) -> str:
    """Return people's answer as a line.

    Args:
        people: What they prefer.
        digits: Decimals of λ.
    """
    low, high = people.lam_interval
    strength = f"   β/λ* {beta_text(people.effective_beta)}" if people.effective_beta else ""
    votes = f"{people.votes} vote{'' if people.votes == 1 else 's'}"
    raters = f"{people.raters} rater{'' if people.raters == 1 else 's'}"
    ties = f"{people.ties} tie{'' if people.ties == 1 else 's'}"
    return (
        f"people's λ*  {people.lam:.{digits}f}   95 % interval {low:.{digits}f} to "
        f"{high:.{digits}f}{strength}   ({votes} of {raters}, {ties})"
    )


def _tracked(tracked: TrackedReward) -> Text:
    text = f"{tracked.name} at λ*  {tracked.value:.5f}"
    if tracked.gain is None:
        return line(text)
    change = _change(tracked.gain.value, tracked.gain.interval)
    return line(f"{text}, against the reference {change}")


def _constraint(check: ConstraintCheck) -> Text:
    return line(
        f"{check.text}: holds at λ* with probability {check.probability:.3f} "
        f"(required: {check.confidence:g})"
    )


def _notes(summary: Summary) -> list[Text]:
    return [line(f"note: {note.text}", style="yellow") for note in summary.notes]


def _confirmation(confirmation: Confirmation, summary: Summary) -> list[Text]:
    digits = lam_digits(summary)
    means = "   ".join(f"λ {row.lam:.{digits}f} {row.value:.5f}" for row in confirmation.values)
    least, most = min(counts := [row.images for row in confirmation.values]), max(counts)
    images = f"{most}" if least == most else f"{least} to {most}"
    lines = [
        line(""),
        line(f"held out: {images} images at each λ, of prompts new to the search"),
        line(f"{_reward(summary)}  {means}"),
    ]
    for d in confirmation.differences:
        against = f"{d.reward} at λ* against λ = {d.versus:g}"
        lines.append(line(f"{against}  {_change(d.value, d.interval)}"))
    return lines


def _change(value: float, interval: tuple[float, float]) -> str:
    return f"{value:+.5f} (95 % {interval[0]:+.5f} to {interval[1]:+.5f})"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"
