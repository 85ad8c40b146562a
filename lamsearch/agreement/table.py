"""An agreement → tables on the terminal, and the same as Markdown and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from deradiff.agreement import ErrorStatistics, Measure
from lamsearch.agreement.results import Emulation, FamilyAgreement, RewardAgreement
from lamsearch.report.rows import beta_text
from lamsearch.report.terminal import line


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        name: Its name among the tables of a reward.
        title: What it shows.
        header: Its column headings.
        rows: Its cells.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def agreement_tables(found: FamilyAgreement) -> RenderableType:
    """Return what the terminal shows: matrices, statistics and the sentence of every reward."""
    parts: list[RenderableType] = [line(f"agreement {found.study}", style="bold")]
    for reward in found.rewards:
        parts += [_table(grid) for grid in short_grids(reward)]
        parts += [line(reward.sentence, style="bold"), line("")]
    parts += [line(f"note: {note.text}", style="yellow") for note in found.notes]
    return Group(*parts)


def grids(reward: RewardAgreement) -> Iterator[Grid]:
    """Yield the tables of one reward: two matrices (Fig. 11 to 22), statistics, best strengths."""
    yield means(reward)
    yield matrix(reward, "differences", "difference ± standard error", _difference)
    yield statistics_grid(reward)
    if reward.peak is not None:
        yield peaks_grid(reward)


def short_grids(reward: RewardAgreement) -> Iterator[Grid]:
    """Yield the tables that fit a terminal: means, differences, and best strengths."""

    def share(emulation: Emulation) -> str:
        return f"{100 * emulation.difference / reward.curve_range:+.1f}"

    yield means(reward)
    yield matrix(reward, "shares", "difference in % of the curve's range,", share)
    if reward.peak is not None:
        yield peaks_grid(reward)


def means(reward: RewardAgreement) -> Grid:
    """Return the mean at every target, from scratch and from each anchor."""
    grid = matrix(reward, "means", "mean", lambda e: f"{e.approximated:.4f}")
    first = ("from scratch", *(f"{m.value:.4f}" for m in reward.members))
    return dataclasses.replace(grid, rows=(first, *grid.rows))


def matrix(reward: RewardAgreement, name: str, what: str, cell: Callable[[Emulation], str]) -> Grid:
    """Return a row per anchor and a column per target strength, the smallest β last."""
    members = reward.members
    header = ("anchor β", *(beta_text(m.strength) for m in members))
    rows = []
    for anchor in members[1:]:
        cells = []
        for target in members:
            found = reward.emulation(anchor, target)
            own = target is anchor or target.anchor is None
            cells.append("=" if own else "–" if found is None else cell(found))
        rows.append((beta_text(anchor.strength), *cells))
    return Grid(name, f"{reward.reward}: {what} at the target β", header, tuple(rows))


def statistics_grid(reward: RewardAgreement) -> Grid:
    """Return the statistics of A.8 (Tables 1 and 5 to 17), λ < 1 and λ > 1 apart."""
    header = ("statistic", "λ < 1", "% of mean", "% of range", "λ > 1", "% of mean", "% of range")
    sides = (reward.statistics.interpolated, reward.statistics.extrapolated)
    rows = [
        (name, *(text for side in sides for text in _measure(None if side is None else read(side))))
        for name, read in _STATISTICS
    ]
    pairs = [("–" if side is None else str(side.pairs), "", "") for side in sides]
    rows.insert(0, ("pairs", *pairs[0], *pairs[1]))
    return Grid("statistics", f"{reward.reward}: approximated − original", header, tuple(rows))


def peaks_grid(reward: RewardAgreement) -> Grid:
    """Return where every curve has its maximum."""
    header = ("curve", "best β", "95 % interval", "difference", "95 % interval")
    assert reward.peak is not None
    peak = reward.peak
    edge = " (edge)" if peak.at_edge else ""
    own = (f"{peak.beta:.0f}{edge}", f"{peak.lower:.0f} to {peak.upper:.0f}")
    rows = [("from scratch", *own, "", "")]
    for each in reversed(reward.emulated_peaks):
        shift, emulated = each.shift, each.shift.emulated
        low, high = (100 * (ratio - 1) for ratio in (shift.lower, shift.upper))
        rows.append(
            (
                f"anchor {each.beta_anchor:g}",
                f"{emulated.beta:.0f}" + (" (edge)" if emulated.at_edge else ""),
                f"{emulated.lower:.0f} to {emulated.upper:.0f}",
                f"{100 * (shift.ratio - 1):+.1f} %",
                f"{low:+.1f} to {high:+.1f} %",
            )
        )
    return Grid("peaks", f"{reward.reward}: the best strength, interpolated", header, tuple(rows))


def markdown(grid: Grid) -> str:
    """Return a table as Markdown, with its title above."""
    lines = [grid.header, ("---",) * len(grid.header), *grid.rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"**{grid.title}**\n\n{table}\n"


def _difference(emulation: Emulation) -> str:
    error = emulation.difference_stderr
    return f"{emulation.difference:+.4f}" + ("" if error is None else f" ± {error:.4f}")


def _of_bootstrap(name: str) -> Callable[[ErrorStatistics], Measure | None]:
    def read(statistics: ErrorStatistics) -> Measure | None:
        bootstrap = statistics.image_bootstrap
        found: Measure | None = None if bootstrap is None else getattr(bootstrap, name)
        return found

    return read


_STATISTICS: Sequence[tuple[str, Callable[[ErrorStatistics], Measure | None]]] = (
    ("mean absolute error", lambda s: s.mean_absolute_error),
    ("  over images: lower 95 %", _of_bootstrap("lower")),
    ("  over images: upper 95 %", _of_bootstrap("upper")),
    ("  over pairs: lower 95 %", lambda s: s.bootstrap.lower if s.bootstrap else None),
    ("  over pairs: upper 95 %", lambda s: s.bootstrap.upper if s.bootstrap else None),
    ("root mean squared error", lambda s: s.root_mean_squared_error),
    ("median absolute error", lambda s: s.median_absolute_error),
    ("bias", lambda s: s.bland_altman.bias),
    ("standard deviation", lambda s: s.bland_altman.standard_deviation),
    ("lower limit of agreement", lambda s: s.bland_altman.lower),
    ("upper limit of agreement", lambda s: s.bland_altman.upper),
)


def _measure(measure: Measure | None) -> tuple[str, str, str]:
    if measure is None:
        return ("–", "–", "–")
    shares = (measure.percent_of_mean, measure.percent_of_range)
    of_mean, of_range = ("–" if share is None else f"{share:.2f}" for share in shares)
    return f"{measure.value:.5f}", of_mean, of_range


def _table(grid: Grid) -> Table:
    table = Table(title=line(grid.title), title_justify="left", header_style="bold")
    for column, heading in enumerate(grid.header):
        table.add_column(line(heading), justify="right" if column else "left", no_wrap=True)
    for cells in grid.rows:
        table.add_row(*map(line, cells))
    return table
