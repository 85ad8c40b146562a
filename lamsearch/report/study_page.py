"""A stored search → its page: summary, kept images, scores, and how it can be reproduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.report.html.page import render
from lamsearch.report.html.pictures import read_pictures
from lamsearch.report.html.view import StudyFacts, report_view
from lamsearch.report.summarize import summarize
from lamsearch.report.summary import Summary
from lamsearch.study.database import Study
from lamsearch.study.gallery import SIZE, Gallery
from lamsearch.study.history import merged
from lamsearch.study.manifest import COMMAND_FACT, KEPT_FACT


def study_page(study: Study, advise: Callable[[Summary], Sequence[str]] | None = None) -> str:
    """Return the page of a search as HTML.

    Args:
        study: The study.
        advise: Says what to do with the answer, in sentences.

    Raises:
        StudyError: If no evaluation is finished.
    """
    history = study.history()
    summary = summarize(study, history=history)
    prompts = _texts(study.recall(KEPT_FACT))
    gallery = Gallery(study.name, study.storage, len(prompts) or SIZE)
    lams = [evaluation.lam for evaluation in summary.evaluations]
    facts = StudyFacts(
        manifest=study.manifest,
        prompts=prompts,
        pictures=read_pictures({lam: gallery.at(lam) for lam in lams}),
        scores={each.lam: each.scores for each in merged(history.finished)},
        command=_texts(study.recall(COMMAND_FACT)) or _command(summary, study.manifest),
        version=version("lamsearch"),
        advice=() if advise is None else advise(summary),
    )
    view = report_view(summary, facts)
    gallery_json = view.gallery.to_json()
    return render("search.html.j2", view=view, gallery_json=gallery_json, version=facts.version)


def _texts(stored: Any) -> Sequence[str]:
    """Return a stored list of texts, empty where there is none or something else."""
    if not isinstance(stored, list) or not all(isinstance(each, str) for each in stored):
        return []
    return stored


def _command(summary: Summary, manifest: dict[str, Any]) -> list[str]:
    """Return the command of a study that does not store it, as its manifest tells it."""
    if summary.anchor is None or summary.reward is None:
        return []
    words = ["lamsearch", "run", "--anchor", summary.anchor, "--reward", summary.reward]
    count = len(summary.evaluations)
    config = SearchConfig.select({**manifest, "budget": count})
    words += config.flags(always=("budget",))
    words += ["--images", str(manifest["images"])] if "images" in manifest else []
    return [*words, "--study", summary.study]
