"""`lamsearch list`: list the studies of a storage."""

from __future__ import annotations

import argparse
from typing import Any

from lamsearch.commands.places import add_output, add_storage
from lamsearch.commands.printing import print_json, print_table


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_storage(command)
    add_output(command, json=True)


def run(options: dict[str, Any]) -> None:
    """List the studies of a storage."""
    from lamsearch.process import quick_imports, spin_less

    spin_less()
    with quick_imports():
        from lamsearch.report.listing import list_studies, listing_table
        from lamsearch.study.storage import chosen_storage

    rows = list_studies(chosen_storage(options["storage"]))
    if options["json"]:
        print_json({"studies": [row.to_json() for row in rows]})
    else:
        print_table(listing_table(rows))
