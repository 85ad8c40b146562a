"""The tables of a page as data: texts to show, and the numbers that they are sorted by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamsearch.report.html.numbers import decimals, interval, number
from lamsearch.report.html.words import lam_decimals, score_decimals
from lamsearch.report.rows import EvaluatedLam, beta_text

if TYPE_CHECKING:
    from lamsearch.report.summary import Summary

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: What it shows.
        key: What its column is sorted by; None comes last.
        kind: Class that styles it.
    """

    text: str
    key: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        header: Headings of its columns.
        rows: Its cells; the first of a row names it.
        marked: Index of the row to stress, −1 for none.
        sortable: Whether the reader may sort it.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: int = -1
    sortable: bool = False


def evaluation_table(summary: Summary) -> Table:
    """Return the evaluations in the order of λ."""
    rows = sorted(summary.evaluations, key=lambda evaluation: evaluation.lam)
    nearest = min(range(len(rows)), key=lambda index: abs(rows[index].lam - summary.lam))
    others = list(dict.fromkeys(name for row in rows for name in row.others))
    strength = () if summary.beta is None else ("β/λ",)
    header = ("λ", *strength, f"mean {summary.reward or 'score'}", "stderr", *others)
    return Table(
        caption="All evaluations; the row nearest to λ* is marked",
        header=(*header, "images", "missing", "#"),
        rows=tuple(tuple(_evaluation_cells(summary, row, others, bool(strength))) for row in rows),
        marked=nearest,
        sortable=True,
    )


def tracked_table(summary: Summary) -> Table | None:
    """Return the tracked rewards at λ*, None without any."""
    if not summary.others:
        return None
    rows = []
    for other in summary.others:
        spread = max(abs(other.gain.value), other.gain.stderr) if other.gain else other.stderr
        places = decimals(spread)
        change = limits = Cell(NOTHING)
        if other.gain is not None:
            kind = "worse" if other.falls else ""
            value = other.gain.value
            change = Cell(number(value, places, signed=True), value, kind)
            limits = Cell(interval(other.gain.interval, places, signed=True))
        mean = Cell(f"{number(other.value, places)} ± {number(other.stderr, places)}", other.value)
        rows.append((Cell(other.name), mean, change, limits))
    header = ("reward", "mean at λ* ± stderr", "against λ = 0", "95 % interval")
    return Table("The rewards that were recorded on the same images", header, tuple(rows))


def confirmation_tables(summary: Summary) -> Iterator[Table]:
    """Yield the means and the differences on held-out images, nothing without them."""
    found = summary.confirmation
    if found is None:
        return
    places, others = score_decimals(summary), list(found.values[0].others)
    rows = tuple(
        tuple(_evaluation_cells(summary, row, others, summary.beta is not None))[:-1]
        for row in found.values
    )
    strength = () if summary.beta is None else ("β/λ",)
    header = ("λ", *strength, f"mean {summary.reward or 'score'}", "stderr", *others)
    yield Table("Means on the held-out images", (*header, "images", "missing"), rows)
    differences = tuple(
        (
            Cell(f"{each.reward}, λ* against λ = {each.versus:g}"),
            Cell(number(each.value, places, signed=True), each.value),
            Cell(interval(each.interval, places, signed=True)),
            Cell(str(each.images), each.images),
        )
        for each in found.differences
    )
    header = ("difference", "mean", "95 % interval", "images")
    yield Table("Paired differences on the held-out images", header, differences)


def _evaluation_cells(
    summary: Summary, row: EvaluatedLam, others: Sequence[str], has_beta: bool
) -> Iterator[Cell]:
    places = score_decimals(summary) + 1
    yield Cell(number(row.lam, lam_decimals(summary)), row.lam)
    if has_beta:
        strength = row.effective_beta
        infinite = strength is None or math.isinf(strength)
        yield Cell(beta_text(strength), None if infinite else strength)
    yield Cell(number(row.value, places), row.value)
    yield _optional(row.stderr, places)
    for name in others:
        yield _optional(row.others.get(name), places)
    yield Cell(str(row.images), row.images)
    yield Cell(str(row.missing), row.missing)
    yield Cell(str(row.number), row.number)


def _optional(value: float | None, places: int) -> Cell:
    return Cell(NOTHING) if value is None else Cell(number(value, places), value)
