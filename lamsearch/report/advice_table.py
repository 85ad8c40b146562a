"""An advice → what the terminal shows: the choices side by side, and the sentences."""

from __future__ import annotations

from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.table import Table

from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.advice import Advice, Choice
from lamsearch.report.advice_words import amount, percent
from lamsearch.report.rows import beta_text
from lamsearch.report.terminal import line

_NAMES = MappingProxyType(
    {
        "aligned": "aligned, λ = 1",
        "keep": "keep λ*",
        "export": "export",
        "retrain": "retrain at β",
    }
)


def advice_table(advice: Advice) -> RenderableType:
    """Return the choices and the sentences."""
    table = Table(title=line(f"study {advice.study}"), title_justify="left", header_style="bold")
    for heading in ("choice", "passes", f"{advice.reward or 'score'} gained", "better", "cost"):
        table.add_column(line(heading), justify="left" if heading == "choice" else "right")
    for choice in advice.choices:
        table.add_row(*map(line, _cells(choice, advice)))
    return Group(table, line(""), *map(line, advice.sentences))


def _cells(choice: Choice, advice: Advice) -> tuple[str, ...]:
    form = "merged" if advice.export is None else advice.export.form
    at = {
        "keep": f" = {advice.lam:.3f}",
        "export": f" {form}",
        "retrain": f" {beta_text(advice.effective_beta)}",
    }
    gain = choice.gain
    return (
        f"{_NAMES[choice.action]}{at.get(choice.action, '')}",
        str(choice.passes),
        "–" if gain is None or choice.action == "aligned" else _brief(gain),
        "–" if choice.probability is None else percent(choice.probability),
        amount(choice.gpu_hours, choice.price),
    )


def _brief(gain: Gain) -> str:
    return f"{gain.value:+.5f} ± {gain.stderr:.5f}"
