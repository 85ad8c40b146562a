"""Opens what commands read, and says what they conclude from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamsearch.report.advice import Advice
    from lamsearch.report.costs import CostsConfig
    from lamsearch.report.summary import Summary
    from lamsearch.study.database import Study


def open_study(options: dict[str, Any]) -> Study:
    """Return the study that the options name, to read."""
    from lamsearch.process import quick_imports, spin_less

    spin_less()
    with quick_imports():
        from lamsearch.study.database import Study
        from lamsearch.study.storage import chosen_storage

    return Study.open(options["study"], chosen_storage(options["storage"]))


def answer_of(study: Study) -> Summary:
    """Return the answer of a study."""
    from lamsearch.process import quick_imports

    with quick_imports():
        from lamsearch.report.summarize import summarize

    return summarize(study)


def advice_on(study: Study, summary: Summary, costs: CostsConfig) -> Advice:
    """Return what to do with a study's answer."""
    from lamsearch.process import quick_imports

    with quick_imports():
        from lamsearch.agreement.emulation_error import stored_emulation_error
        from lamsearch.evaluation.config import AUTO
        from lamsearch.report.advice import advise
        from lamsearch.report.advice_words import with_sentences
        from lamsearch.report.exported import recalled_export

    emulation = (
        stored_emulation_error(study, summary.reward, summary.lam) if summary.lam > 0 else None
    )
    return with_sentences(
        advise(
            summary,
            costs=costs,
            emulation=emulation,
            export=recalled_export(study, summary.lam),
            continues=study.manifest.get("images") == AUTO,
        )
    )
