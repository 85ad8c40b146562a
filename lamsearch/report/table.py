"""Summary → the table on the terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lamsearch.summary import EvaluatedLam, Summary, effective_beta


def summary_table(summary: Summary) -> RenderableType:
    """Return the evaluations in the order of λ, and under them the answer."""
    # Text, not markup: names may hold brackets.
    table = Table(title=Text(f"study {summary.study}"), title_justify="left", header_style="bold")
    for heading in ("#", "λ", "β/λ", _reward(summary), "± stderr", "images", "missing"):
        table.add_column(Text(heading), justify="right")
    best = min(summary.evaluations, key=lambda e: abs(e.lam - summary.lam))
    for evaluation in sorted(summary.evaluations, key=lambda e: e.lam):
        table.add_row(*_cells(evaluation), style="green" if evaluation is best else "")
    return Group(table, Text(), *_answer(summary))


def beta_text(beta: float | None) -> str:
    """Return a KL strength for people: ∞ where it is infinite, – where it is unknown."""
    if beta is None:
        return "–"
    if math.isinf(beta):
        return "∞"
    return f"{beta:.0f}" if beta >= 100 else f"{beta:.3g}"


def _interval_text(summary: Summary, beta: float) -> str:
    """Return the 95 % interval of β/λ*, the smaller strength first."""
    low, high = summary.lam_interval
    weak, strong = effective_beta(beta, high), effective_beta(beta, low)
    return f"{beta_text(weak)} to {beta_text(strong)}"


def _reward(summary: Summary) -> str:
    return f"mean {summary.reward}" if summary.reward else "mean score"


def _cells(evaluation: EvaluatedLam) -> tuple[str, ...]:
    return (
        str(evaluation.number),
        f"{evaluation.lam:.3f}",
        beta_text(evaluation.effective_beta),
        f"{evaluation.value:.5f}",
        "–" if evaluation.stderr is None else f"{evaluation.stderr:.5f}",
        str(evaluation.images),
        str(evaluation.missing),
    )


def _answer(summary: Summary) -> list[Text]:
    low, high = summary.lam_interval
    lines = [f"λ*    {summary.lam:.3f}   95 % interval {low:.3f} to {high:.3f}"]
    if summary.beta is not None:
        strength, interval = (
            beta_text(summary.effective_beta),
            _interval_text(summary, summary.beta),
        )
        lines.append(f"β/λ*  {strength}   95 % interval {interval}")
    lines.append(
        f"{_reward(summary)} at λ*  {summary.value:.5f} ± {summary.value_stderr:.5f} (stderr)"
    )
    observed = summary.best_observed
    lines.append(
        f"best observed  λ {observed.lam:.3f} at {observed.value:.5f} (biased upward by noise)"
    )
    return [Text(lines[0], style="bold"), *(Text(line) for line in lines[1:])]
