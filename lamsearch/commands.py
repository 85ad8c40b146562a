"""What the commands of the command line do: import what they need, call, print."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamsearch.errors import SettingsError

if TYPE_CHECKING:
    from lamsearch.agreement.results import FamilyAgreement
    from lamsearch.report.summary import Summary
    from lamsearch.study.database import Study

_FIGURES = (".png", ".svg", ".pdf")


def run(options: dict[str, Any]) -> None:
    """Search λ, or resume a search."""
    from rich.console import Console

    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.process import quick_imports, quiet_libraries, spin_less
    from lamsearch.report.progress import SearchProgress

    as_json = options.pop("json")
    settings = load_settings(find_settings(options["config"]))
    anchor = settings.anchor(options["anchor"])
    say(f"settings {settings.path}")
    if settings.description:
        say(settings.description)
    strength = "no β" if anchor.beta is None else f"β = {anchor.beta:g}"
    say(f"anchor   {anchor.name}: {strength}, {anchor.aligned}")
    spin_less(Path(anchor.reference), options.get("device"))
    with quick_imports():
        from lamsearch.evaluation.config import AUTO, ImagesConfig
        from lamsearch.image_search import run as search

        quiet_libraries()
    images, budget = options.get("images", ImagesConfig().images), options["budget"]
    total = budget if images == AUTO else images * budget
    with SearchProgress(Console(stderr=True, highlight=False), images=total) as progress:
        summary = search(**{**options, "config": settings.path, "progress": progress})
    _print(summary, as_json=as_json)
    where = ["--storage", options["storage"]] if options["storage"] else []
    plot = ["lamsearch", "plot", summary.study, *where, "-o", "curve.png"]
    say(f"plot it: {shlex.join(plot)}")


def agree(options: dict[str, Any]) -> None:
    """Measure how far β/λ can be trusted within a family of anchors."""
    from rich.console import Console

    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.process import quick_imports, spin_less
    from lamsearch.report.progress import SearchProgress

    as_json, output = options.pop("json"), options.pop("output")
    settings = load_settings(find_settings(options["config"]))
    say(f"settings {settings.path}")
    spin_less(Path(settings.anchor(options["anchor"][0]).reference), options.get("device"))
    with quick_imports():
        from lamsearch.agreement.agree import agree as compare
        from lamsearch.agreement.files import require_writable, write_files
        from lamsearch.process import quiet_libraries

        quiet_libraries()
    if output is not None:
        require_writable(output)
    with SearchProgress(Console(stderr=True, highlight=False), images=0) as progress:
        found = compare(**{**options, "config": settings.path, "progress": progress})
    _print_agreement(found, as_json=as_json)
    if output is not None:
        write_files(found, output)
        say(f"wrote figures and tables to {output}")


def show(options: dict[str, Any]) -> None:
    """Print the answer of a study."""
    study = _open(options)
    if not study.is_agreement:
        _print(_summary(study), as_json=options["json"])
        return
    from lamsearch.agreement.analysis import read_agreement

    _print_agreement(read_agreement(study), as_json=options["json"])


def plot(options: dict[str, Any]) -> None:
    """Draw the curve and the images of a study."""
    output: Path = options["output"]
    if output.suffix.lower() not in _FIGURES:
        raise SettingsError(f"cannot write {output}: expected one of {', '.join(_FIGURES)}")
    summary = _summary(_open(options))
    from lamsearch.report.figure import draw
    from lamsearch.study.gallery import Gallery
    from lamsearch.study.storage import DEFAULT_STORAGE

    gallery = Gallery(options["study"], options["storage"] or DEFAULT_STORAGE)
    kept = {evaluation.lam: gallery.at(evaluation.lam) for evaluation in summary.evaluations}
    try:
        draw(summary, {lam: files for lam, files in kept.items() if any(files)}, output)
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error}") from error
    say(f"wrote {output}")


def list_(options: dict[str, Any]) -> None:
    """List the studies of a storage."""
    from lamsearch.process import quick_imports, spin_less

    spin_less()
    with quick_imports():
        from lamsearch.report.listing import list_studies, listing_table
        from lamsearch.study.storage import DEFAULT_STORAGE

    rows = list_studies(options["storage"] or DEFAULT_STORAGE)
    if options["json"]:
        sys.stdout.write(json.dumps({"studies": [row.to_json() for row in rows]}) + "\n")
    else:
        _print_table(listing_table(rows))


def _open(options: dict[str, Any]) -> Study:
    from lamsearch.process import quick_imports, spin_less

    spin_less()
    with quick_imports():
        from lamsearch.study.database import Study
        from lamsearch.study.storage import DEFAULT_STORAGE

    return Study.open(options["study"], options["storage"] or DEFAULT_STORAGE)


def _summary(study: Study) -> Summary:
    from lamsearch.process import quick_imports

    with quick_imports():
        from lamsearch.report.summarize import summarize

    return summarize(study)


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(summary.to_json(), allow_nan=False) + "\n")
        return
    from lamsearch.report.table import summary_table

    _print_table(summary_table(summary))


def _print_agreement(found: FamilyAgreement, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), allow_nan=False) + "\n")
        return
    from lamsearch.agreement.table import agreement_tables

    _print_table(agreement_tables(found))


def _print_table(table: Any) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False).print(table)


def say(text: str) -> None:
    """Write a message to standard error."""
    sys.stderr.write(text + "\n")
