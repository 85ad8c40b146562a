"""The studies of a storage at a glance: one row per study."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from lamsearch.errors import LamsearchError, StudyError
from lamsearch.report.summarize import summarize
from lamsearch.report.terminal import line
from lamsearch.study.database import Study
from lamsearch.study.history import merged
from lamsearch.study.manifest import agreement_betas, child_name

_NAME_WIDTH = 40
"""Characters of a name in one line of its cell."""


@dataclass(frozen=True)
class StudyRow:
    """One study.

    Attributes:
        name: Name of the study.
        anchor: Name of its anchor, None if it is not a search of images.
        reward: Name of its reward, likewise.
        evaluations: Number of evaluated λs.
        lam: λ*, None while there is none.
        state: "running" with living workers, "interrupted" with unfinished evaluations, "idle",
            "empty", or "foreign" if it is not a study of lamsearch.
    """

    name: str
    anchor: str | None
    reward: str | None
    evaluations: int
    lam: float | None
    state: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dataclasses.asdict(self)


def list_studies(storage: str | None) -> list[StudyRow]:
    """Return the studies of a storage by name; confirmations and the parts of agreements are none.

    Raises:
        StudyError: If the storage cannot be opened.
    """
    found = (_row(name, storage) for name in Study.names(storage))
    return [row for row in found if row is not None]


def listing_table(rows: Sequence[StudyRow]) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(header_style="bold")
    for heading in ("study", "anchor", "reward", "evaluations", "λ*", "state"):
        is_number = heading in ("evaluations", "λ*")
        justify: Any = "right" if is_number else "left"
        width = None if is_number else _NAME_WIDTH
        table.add_column(
            heading, justify=justify, overflow="fold", no_wrap=is_number, max_width=width
        )
    for row in rows:
        lam = "–" if row.lam is None else f"{row.lam:.3f}"
        cells = (row.name, row.anchor or "–", row.reward or "–", str(row.evaluations), lam)
        table.add_row(*map(line, (*cells, row.state)))
    return table


def _row(name: str, storage: str | None) -> StudyRow | None:
    """Return a study's row; None for a confirmation."""
    foreign = StudyRow(name, None, None, 0, None, "foreign")
    try:
        study = Study.open(name, storage)
        history, manifest = study.history(), study.manifest
    except StudyError:
        return foreign
    if "confirms" in manifest or "agreement" in manifest:
        return None
    if study.is_agreement:
        return _agreement_row(study)
    if not manifest and history.evaluations and all(math.isnan(e.lam) for e in history.evaluations):
        return foreign
    state = "idle" if history.finished else "empty"
    if history.running:
        state = "running" if study.has_live_workers else "interrupted"
    done, lam = _answer(study)
    return StudyRow(name, manifest.get("anchor"), manifest.get("reward"), done, lam, state)


def _agreement_row(study: Study) -> StudyRow:
    """Return the row of an agreement; its evaluations are in a study per anchor."""
    names = list(agreement_betas(study.facts_of_all(), study.name))
    children = [study.find_beside(child_name(study.name, name)) for name in names]
    histories = [child.history() for child in children if child is not None]
    done = sum(len(merged(history.finished)) for history in histories)
    state = "idle" if done else "empty"
    if any(history.running for history in histories):
        living = any(child.has_live_workers for child in children if child is not None)
        state = "running" if living else "interrupted"
    rewards = ", ".join(study.manifest.get("rewards", []))
    return StudyRow(study.name, ", ".join(names), rewards, done, None, state)


def _answer(study: Study) -> tuple[int, float | None]:
    """Return the number of evaluated λs and λ*; None while there is no answer."""
    try:
        summary = summarize(study)
    except LamsearchError:
        return len(merged(study.history().finished)), None
    return len(summary.evaluations), summary.lam
