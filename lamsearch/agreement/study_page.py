"""A stored agreement → its page."""

from __future__ import annotations

from importlib.metadata import version

from lamsearch.agreement.analysis import read_agreement
from lamsearch.agreement.page_view import agreement_view
from lamsearch.report.html.page import render
from lamsearch.study.database import Study
from lamsearch.study.manifest import COMMAND_FACT


def agreement_page(study: Study) -> str:
    """Return the page of an agreement as HTML.

    Raises:
        StudyError: If it has no answer yet.
    """
    own = version("lamsearch")
    stored = study.recall(COMMAND_FACT)
    view = agreement_view(
        read_agreement(study),
        manifest=study.manifest,
        command=[str(word) for word in stored] if isinstance(stored, list) else [],
        version=own,
    )
    return render("agreement.html.j2", view=view, version=own)
