"""`lamsearch report`: write a study as one page of HTML."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamsearch.commands.places import add_output, add_storage, add_study
from lamsearch.commands.printing import say
from lamsearch.commands.studies import advice_on, open_study
from lamsearch.errors import SettingsError

if TYPE_CHECKING:
    from lamsearch.report.costs import CostsConfig
    from lamsearch.study.database import Study

_PAGES = (".html", ".htm")


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.flags import add_flags
    from lamsearch.report.costs import CostsConfig

    add_study(command)
    add_flags(command, (CostsConfig,))
    add_storage(command)
    add_output(command, file="a .html file", required=True)


def run(options: dict[str, Any]) -> None:
    """Write a study as one page of HTML."""
    output: Path = options["output"]
    if output.suffix.lower() not in _PAGES:
        raise SettingsError(f"cannot write {output}: expected one of {', '.join(_PAGES)}")
    from lamsearch.report.costs import CostsConfig
    from lamsearch.report.page_file import write_page

    costs = CostsConfig.select(options)
    write_page(_page(open_study(options), costs), output)
    say(f"wrote {output}: open it in a browser")


def _page(study: Study, costs: CostsConfig) -> str:
    from lamsearch.process import quick_imports

    with quick_imports():
        if study.is_agreement:
            from lamsearch.agreement.study_page import agreement_page

            if costs != type(costs)():
                raise SettingsError(
                    f"'{study.name}' is an agreement: costs belong to the page of a search"
                )
            return agreement_page(study)
        from lamsearch.report.study_page import study_page

    return study_page(study, lambda summary: advice_on(study, summary, costs).sentences)
