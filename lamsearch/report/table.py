"""Summary → the table on the terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lamsearch.report.confirmation import Confirmation
from lamsearch.report.rows import EvaluatedLam, effective_beta
from lamsearch.report.summary import ConstraintCheck, Summary
from lamsearch.report.tracked_rewards import TrackedReward


def summary_table(summary: Summary) -> RenderableType:
    """Return the evaluations in the order of λ, and under them the answer."""
    # Text, not markup: names may hold brackets.
    table = Table(title=Text(f"study {summary.study}"), title_justify="left", header_style="bold")
    others = dict.fromkeys(name for e in summary.evaluations for name in e.others)
    scores = (summary.reward or "score", "stderr", *others)
    strength = () if summary.beta is None else ("β/λ",)
    for heading in ("#", "λ", *strength, *scores, "images", "missing"):
        table.add_column(Text(heading), justify="right")
    best = min(summary.evaluations, key=lambda e: abs(e.lam - summary.lam))
    for evaluation in sorted(summary.evaluations, key=lambda e: e.lam):
        table.add_row(*_cells(evaluation), style="green" if evaluation is best else "")
    return Group(table, Text(), *_answer(summary), *_guards(summary), *_notes(summary))


def beta_text(beta: float | None) -> str:
    """Return a KL strength for people: ∞ where it is infinite, – where there is none."""
    if beta is None:
        return "–"
    if math.isinf(beta):
        return "∞"
    return f"{beta:.0f}" if abs(beta) >= 100 else f"{beta:.3g}"


def _interval_text(summary: Summary, beta: float) -> str:
    """Return the 95 % interval of β/λ*, the smaller strength first; none is above that of λ = 0."""
    low, high = summary.lam_interval
    weak, strong = (effective_beta(beta, max(lam, 0.0)) for lam in (high, low))
    return f"{beta_text(weak)} to {beta_text(strong)}"


def _reward(summary: Summary) -> str:
    return f"mean {summary.reward}" if summary.reward else "mean score"


def _cells(evaluation: EvaluatedLam) -> tuple[str, ...]:
    strength = evaluation.effective_beta
    return (
        str(evaluation.number),
        f"{evaluation.lam:.3f}",
        *(() if strength is None else (beta_text(strength),)),
        f"{evaluation.value:.5f}",
        _figure(evaluation.stderr),
        *(_figure(value) for value in evaluation.others.values()),
        str(evaluation.images),
        str(evaluation.missing),
    )


def _answer(summary: Summary) -> list[Text]:
    low, high = summary.lam_interval
    among = ", where the constraint holds" if summary.constraint is not None else ""
    lines = [f"λ*    {summary.lam:.3f}   95 % interval {low:.3f} to {high:.3f}{among}"]
    if summary.beta is not None:
        strength, interval = (
            beta_text(summary.effective_beta),
            _interval_text(summary, summary.beta),
        )
        lines.append(f"β/λ*  {strength}   95 % interval {interval}")
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
        f"best observed  λ {observed.lam:.3f} at {observed.value:.5f} (biased upward by noise)"
    )
    return [Text(lines[0], style="bold"), *(Text(line) for line in lines[1:])]


def _guards(summary: Summary) -> list[Text]:
    """Return what speaks for or against the answer: other rewards, constraint, held-out images."""
    lines = [_tracked(tracked) for tracked in summary.others]
    if summary.constraint is not None:
        lines.append(_constraint(summary.constraint))
    if summary.confirmation is not None:
        lines += _confirmation(summary.confirmation, summary)
    return lines


def _tracked(tracked: TrackedReward) -> Text:
    line = f"{tracked.name} at λ*  {tracked.value:.5f}"
    if tracked.gain is None:
        return Text(line)
    change = _change(tracked.gain.value, tracked.gain.interval)
    return Text(f"{line}, against the reference {change}")


def _constraint(check: ConstraintCheck) -> Text:
    return Text(
        f"{check.text}: holds at λ* with probability {check.probability:.3f} "
        f"(required: {check.confidence:g})"
    )


def _notes(summary: Summary) -> list[Text]:
    return [Text(f"note: {note.text}", style="yellow") for note in summary.notes]


def _confirmation(confirmation: Confirmation, summary: Summary) -> list[Text]:
    means = "   ".join(f"λ {row.lam:.3f} {row.value:.5f}" for row in confirmation.values)
    least, most = min(counts := [row.images for row in confirmation.values]), max(counts)
    images = f"{most}" if least == most else f"{least} to {most}"
    lines = [
        Text(),
        Text(f"held out: {images} images at each λ, of prompts new to the search"),
        Text(f"{_reward(summary)}  {means}"),
    ]
    for d in confirmation.differences:
        against = f"{d.reward} at λ* against λ = {d.versus:g}"
        lines.append(Text(f"{against}  {_change(d.value, d.interval)}"))
    return lines


def _change(value: float, interval: tuple[float, float]) -> str:
    return f"{value:+.5f} (95 % {interval[0]:+.5f} to {interval[1]:+.5f})"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"
