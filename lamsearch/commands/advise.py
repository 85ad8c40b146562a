"""`lamsearch advise`: say what to do with an answer, and what that costs."""

from __future__ import annotations

import argparse
from typing import Any

from lamsearch.commands.places import add_output, add_storage, add_study
from lamsearch.commands.printing import print_json, print_table
from lamsearch.commands.studies import advice_on, answer_of, open_study


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.flags import add_flags
    from lamsearch.report.costs import CostsConfig

    add_study(command)
    add_flags(command, (CostsConfig,))
    add_storage(command)
    add_output(command, json=True)


def run(options: dict[str, Any]) -> None:
    """Say what to do with an answer."""
    from lamsearch.report.costs import CostsConfig

    costs = CostsConfig.select(options)
    study = open_study(options)
    advice = advice_on(study, answer_of(study), costs)
    if options["json"]:
        print_json(advice.to_json())
        return
    from lamsearch.report.advice_table import advice_table

    print_table(advice_table(advice))
