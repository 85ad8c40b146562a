"""The small version of a page, which a notebook shows for a summary."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lamsearch.report.html.curves import curve_plot
from lamsearch.report.html.page import render_part
from lamsearch.report.html.plots import SMALL
from lamsearch.report.html.view import headline
from lamsearch.report.html.words import answer_sentences, note_text, unbroken

if TYPE_CHECKING:
    from lamsearch.report.summary import Summary


def small_html(summary: Summary) -> str:
    """Return the answer, its caveats and the curve as a part of a page, without any script."""
    plot = curve_plot(summary, SMALL)
    # Several parts of one notebook must not share the ids of their elements.
    digest = hashlib.sha256(repr((summary.study, plot)).encode()).hexdigest()
    return render_part(
        "notebook.html.j2",
        id=f"lamsearch-{digest[:12]}",
        headline=tuple(headline(summary)),
        sentences=tuple(map(unbroken, answer_sentences(summary))),
        notes=tuple(map(note_text, summary.notes)),
        plot=plot,
    )
