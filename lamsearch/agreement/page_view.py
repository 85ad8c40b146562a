"""An agreement → the view model of its page: every text and number that it shows, as data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamsearch.agreement.page_plots import bland_altman_plot, line_plots
from lamsearch.agreement.results import FamilyAgreement, RewardAgreement
from lamsearch.agreement.table import Grid, means, peaks_grid, statistics_grid
from lamsearch.report.html.citation import citation
from lamsearch.report.html.numbers import MINUS, duration, number
from lamsearch.report.html.plots import Plot
from lamsearch.report.html.tables import NOTHING, Cell, Table
from lamsearch.report.html.view import Fact, manifest_facts, version_facts
from lamsearch.report.html.words import note_text, unbroken
from lamsearch.report.rows import beta_text

_SHADES = 4
_HYPHEN = re.compile(r"(?<!\w)-(?=\d)")


@dataclass(frozen=True)
class RewardView:
    """What the page shows of one reward."""

    name: str
    sentence: str
    headline: tuple[Fact, ...]
    matrix: Table
    means: Table
    lines: tuple[Plot, ...]
    bland_altman: Plot
    statistics: Table
    peaks: Table | None


@dataclass(frozen=True)
class AgreementView:
    """All that the page of an agreement shows."""

    title: str
    subtitle: str
    rewards: tuple[RewardView, ...]
    notes: tuple[str, ...]
    manifest: tuple[Fact, ...]
    versions: tuple[Fact, ...]
    command: str
    citation: str


def agreement_view(
    found: FamilyAgreement, *, manifest: Mapping[str, Any], command: Sequence[str], version: str
) -> AgreementView:
    """Return the view model of an agreement's page.

    Args:
        found: The agreement.
        manifest: What its scores depend on.
        command: Words of the command line that reproduces it, empty where that is not known.
        version: Version of lamsearch that writes the page.
    """
    names = ", ".join(found.anchors)
    return AgreementView(
        title=found.study,
        subtitle=f"anchors {names} · {found.images} images each · {duration(found.seconds)}",
        rewards=tuple(map(reward_view, found.rewards)),
        notes=tuple(map(note_text, found.notes)),
        manifest=manifest_facts(manifest),
        versions=version_facts(manifest, version),
        command=shlex.join(command),
        citation=citation(version),
    )


def reward_view(reward: RewardAgreement) -> RewardView:
    """Return what the page shows of one reward."""
    return RewardView(
        name=reward.reward,
        sentence=unbroken(f"{reward.sentence}."),
        headline=tuple(_headline(reward)),
        matrix=difference_matrix(reward),
        means=_table(means(reward)),
        lines=tuple(line_plots(reward)),
        bland_altman=bland_altman_plot(reward),
        statistics=_table(statistics_grid(reward)),
        peaks=None if reward.peak is None else _table(peaks_grid(reward)),
    )


def difference_matrix(reward: RewardAgreement) -> Table:
    """Return a row per anchor and a column per target: differences in % of the curve's range."""
    members = [member for member in reward.members if member.anchor is not None]
    largest = max(abs(each.difference) for each in reward.emulations)
    rows = []
    for anchor in members:
        cells = [Cell(beta_text(anchor.strength), anchor.strength)]
        for target in members:
            found = reward.emulation(anchor, target)
            if found is None:
                cells.append(Cell("=" if target is anchor else NOTHING))
                continue
            share = 100 * found.difference / reward.curve_range
            text = number(share, 1, signed=True)
            if found.difference_stderr is not None:
                text += f" ± {100 * found.difference_stderr / reward.curve_range:.1f}"
            cells.append(Cell(text, share, _shade(found.difference, largest)))
        rows.append(tuple(cells))
    caption = (
        f"{reward.reward}: emulated − from scratch at the target β, in % of the curve's range, "
        "± standard error; λ < 1 where the target's β is larger than the anchor's"
    )
    header = ("anchor β ↓   target β →", *(beta_text(member.strength) for member in members))
    return Table(caption, header, tuple(rows))


def _headline(reward: RewardAgreement) -> list[Fact]:
    """Return the mean absolute errors as large figures, λ < 1 and λ > 1 apart."""
    facts = []
    for name, statistics in (
        ("λ < 1 misses by", reward.statistics.interpolated),
        ("λ > 1 misses by", reward.statistics.extrapolated),
    ):
        if statistics is None:
            continue
        share = statistics.mean_absolute_error.percent_of_range
        bootstrap = statistics.image_bootstrap
        detail = "of the curve's range, on average"
        if bootstrap is not None:
            low, high = bootstrap.lower.percent_of_range, bootstrap.upper.percent_of_range
            detail += f"; 95 % interval {low:.1f} to {high:.1f} %"
        facts.append(Fact(name, f"{share:.1f} %", detail))
    trust = reward.trust
    if trust.low < trust.high:
        detail = f"every pair there is within {100 * trust.share:g} % of the curve's range"
        facts.append(Fact("good for λ from", f"{trust.low:.3g} to {trust.high:.3g}", detail))
    return facts


def _shade(difference: float, largest: float) -> str:
    """Return the class of a cell: which sign, and how much of the largest difference."""
    if largest == 0:
        return ""
    strength = min(int(_SHADES * abs(difference) / largest), _SHADES - 1)
    return f"{'up' if difference > 0 else 'down'}{strength}"


def _table(grid: Grid) -> Table:
    rows = tuple(tuple(Cell(_HYPHEN.sub(MINUS, text)) for text in row) for row in grid.rows)
    return Table(grid.title, grid.header, rows)
