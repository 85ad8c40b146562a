"""Summary and study → the view model of a page: every text and number that it shows, as data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamsearch.report.html.citation import citation
from lamsearch.report.html.curves import curve_plot
from lamsearch.report.html.gallery_view import GalleryView, gallery_view
from lamsearch.report.html.numbers import duration, interval, number
from lamsearch.report.html.pictures import Pictures
from lamsearch.report.html.plots import LAYOUTS, Plot
from lamsearch.report.html.tables import (
    Table,
    confirmation_tables,
    evaluation_table,
    tracked_table,
)
from lamsearch.report.html.words import (
    answer_sentences,
    lam_decimals,
    note_text,
    score_decimals,
    strength_interval,
    unbroken,
)
from lamsearch.report.rows import beta_text

if TYPE_CHECKING:
    from lamsearch.report.summary import Summary


@dataclass(frozen=True)
class Fact:
    """A name and what belongs to it, both texts."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class StudyFacts:
    """What a page shows of a study beside its summary.

    Attributes:
        manifest: What the scores depend on.
        prompts: Prompts of the kept images, in the order of the plan.
        pictures: λ → these images.
        scores: λ → image id → score.
        command: Words of the command line that reproduces it, empty where that is not known.
        version: Version of lamsearch that writes the page.
        advice: What to do with the answer, in sentences.
    """

    manifest: Mapping[str, Any]
    prompts: Sequence[str]
    pictures: Pictures
    scores: Mapping[float, Mapping[int, float]]
    command: Sequence[str]
    version: str
    advice: Sequence[str] = ()


@dataclass(frozen=True)
class ReportView:
    """All that the page of a search shows."""

    title: str
    subtitle: str
    headline: tuple[Fact, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    plots: tuple[Plot, ...]
    onset: str
    advice: tuple[str, ...]
    gallery: GalleryView
    evaluations: Table
    confirmation: tuple[Table, ...]
    confirmed: str
    tracked: Table | None
    manifest: tuple[Fact, ...]
    versions: tuple[Fact, ...]
    command: str
    citation: str


def report_view(summary: Summary, facts: StudyFacts) -> ReportView:
    """Return the view model of a search's page."""
    return ReportView(
        title=summary.study,
        subtitle=_subtitle(summary),
        headline=tuple(headline(summary)),
        sentences=tuple(map(unbroken, answer_sentences(summary))),
        notes=tuple(map(note_text, summary.notes)),
        plots=tuple(curve_plot(summary, layout) for layout in LAYOUTS),
        onset=_onset(summary),
        advice=tuple(map(unbroken, facts.advice)),
        gallery=gallery_view(summary, facts.prompts, facts.pictures, facts.scores),
        evaluations=evaluation_table(summary),
        confirmation=tuple(confirmation_tables(summary)),
        confirmed=_confirmed(summary),
        tracked=tracked_table(summary),
        manifest=manifest_facts(facts.manifest),
        versions=version_facts(facts.manifest, facts.version),
        command=shlex.join(facts.command),
        citation=citation(facts.version),
    )


def headline(summary: Summary) -> Iterator[Fact]:
    """Yield the answer as large figures: λ*, β/λ* and J(λ*), with their intervals."""
    places = lam_decimals(summary)
    limits = interval(summary.lam_interval, places)
    yield Fact("λ*", number(summary.lam, places), f"95 % interval {limits}")
    if summary.beta is not None:
        limits = strength_interval(summary, summary.beta)
        yield Fact("β/λ*", beta_text(summary.effective_beta), f"95 % interval {limits}")
    places = score_decimals(summary)
    error = f"± {number(summary.value_stderr, places)} standard error"
    yield Fact(f"mean {summary.reward or 'score'} at λ*", number(summary.value, places), error)


def manifest_facts(manifest: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Return the manifest's entries as texts."""
    hidden = ("versions",)
    return tuple(
        Fact(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in manifest.items()
        if key not in hidden and value is not None
    )


def version_facts(manifest: Mapping[str, Any], own: str) -> tuple[Fact, ...]:
    """Return the versions that the images were generated with, and that of the page."""
    stored = manifest.get("versions")
    versions = dict(stored) if isinstance(stored, Mapping) else {}
    facts = [Fact(str(name), str(version)) for name, version in versions.items()]
    return (*facts, Fact("lamsearch (this page)", own))


def _subtitle(summary: Summary) -> str:
    parts = []
    if summary.anchor is not None:
        strength = "" if summary.beta is None else f" (β = {summary.beta:g})"
        parts.append(f"anchor {summary.anchor}{strength}")
    parts.append(f"reward {summary.reward or 'of your own function'}")
    images = sum(evaluation.images for evaluation in summary.evaluations)
    parts.append(f"{len(summary.evaluations)} λs, {images} images, {duration(summary.seconds)}")
    return " · ".join(parts)


def _onset(summary: Summary) -> str:
    onset = summary.onset
    if onset is None:
        return ""
    places = lam_decimals(summary)
    limits = interval(onset.interval, places)
    return unbroken(
        f"images leave the reference's range: λ = {number(onset.lam, places)}, "
        f"95 % interval {limits}"
    )


def _confirmed(summary: Summary) -> str:
    found = summary.confirmation
    if found is None:
        return ""
    return f"{found.images} images at λ*, of prompts and seeds that the search has not seen."
