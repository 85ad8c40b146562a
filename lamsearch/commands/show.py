"""`lamsearch show`: print the answer of a study."""

from __future__ import annotations

import argparse
from typing import Any

from lamsearch.commands.places import add_output, add_storage, add_study
from lamsearch.commands.printing import print_agreement, print_summary
from lamsearch.commands.studies import answer_of, open_study


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_study(command)
    add_storage(command)
    add_output(command, json=True)


def run(options: dict[str, Any]) -> None:
    """Print the answer of a study."""
    study = open_study(options)
    if not study.is_agreement:
        print_summary(answer_of(study), as_json=options["json"])
        return
    from lamsearch.agreement.analysis import read_agreement

    print_agreement(read_agreement(study), as_json=options["json"])
