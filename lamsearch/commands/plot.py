"""`lamsearch plot`: draw the curve and the images of a study."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamsearch.commands.places import add_output, add_storage, add_study
from lamsearch.commands.printing import say
from lamsearch.commands.studies import answer_of, open_study
from lamsearch.errors import SettingsError

if TYPE_CHECKING:
    from lamsearch.study.database import Study

_FIGURES = (".png", ".svg", ".pdf")


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_study(command)
    add_storage(command)
    add_output(command, file="a .png, .svg or .pdf; of an agreement, a folder", required=True)


def run(options: dict[str, Any]) -> None:
    """Draw the curve and the images of a study."""
    output: Path = options["output"]
    study = open_study(options)
    if study.is_agreement:
        _write_agreement(study, output)
        return
    if output.suffix.lower() not in _FIGURES:
        raise SettingsError(f"cannot write {output}: expected one of {', '.join(_FIGURES)}")
    summary = answer_of(study)
    from lamsearch.report.figure import draw
    from lamsearch.study.gallery import Gallery
    from lamsearch.study.storage import chosen_storage

    gallery = Gallery(options["study"], chosen_storage(options["storage"]))
    kept = {evaluation.lam: gallery.at(evaluation.lam) for evaluation in summary.evaluations}
    try:
        draw(summary, {lam: files for lam, files in kept.items() if any(files)}, output)
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error}") from error
    say(f"wrote {output}")


def _write_agreement(study: Study, folder: Path) -> None:
    from lamsearch.agreement.analysis import read_agreement
    from lamsearch.agreement.files import require_writable, write_files

    require_writable(folder)
    write_files(read_agreement(study), folder)
    say(f"wrote figures and tables to {folder}")
