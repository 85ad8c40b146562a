"""What commands print: messages to standard error, answers to standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from lamsearch.plain_text import plain

if TYPE_CHECKING:
    from lamsearch.agreement.results import FamilyAgreement
    from lamsearch.report.summary import Summary


def say(text: str) -> None:
    """Write a message to standard error, as one line."""
    sys.stderr.write(plain(text) + "\n")


def print_json(answer: Any) -> None:
    """Print one JSON object."""
    sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")


def print_table(table: Any) -> None:
    """Print what rich can draw."""
    from lamsearch.report.terminal import drawn

    # Not by rich itself, which ends the process where nobody reads any more.
    sys.stdout.write(drawn(table))


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """Print the answer of a search."""
    if as_json:
        print_json(summary.to_json())
        return
    from lamsearch.report.table import summary_table

    print_table(summary_table(summary))


def print_agreement(found: FamilyAgreement, *, as_json: bool) -> None:
    """Print an agreement."""
    if as_json:
        print_json(found.to_json())
        return
    from lamsearch.agreement.table import agreement_tables

    print_table(agreement_tables(found))
