"""`lamsearch agree`: measure how far β/λ can be trusted within a family of anchors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lamsearch.commands.places import add_output, add_settings, add_storage
from lamsearch.commands.printing import print_agreement, say


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.agreement.config import AgreementConfig
    from lamsearch.flags import add_flags, names

    command.add_argument(
        "--anchor",
        required=True,
        action="append",
        metavar="NAME",
        help="anchor in the settings; once for each anchor of the family",
    )
    command.add_argument(
        "--reward",
        required=True,
        action="extend",
        type=names,
        metavar="NAMES",
        help="rewards, such as pickscore,hps",
    )
    add_settings(command)
    add_flags(command, (AgreementConfig,))
    add_storage(command, "agreement-seedS")
    add_output(command, json=True, file="write figures and tables there", metavar="FOLDER")


def run(options: dict[str, Any]) -> None:
    """Measure how far β/λ can be trusted within a family of anchors."""
    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.process import quick_imports, spin_less
    from lamsearch.report.progress import SearchProgress
    from lamsearch.report.terminal import message_console
    from lamsearch.standard_streams import prints_to_stderr

    as_json, output = options.pop("json"), options.pop("output")
    settings = load_settings(find_settings(options["config"]))
    say(f"settings {settings.path}")
    spin_less(Path(settings.anchor(options["anchor"][0]).reference), options.get("device"))
    with quick_imports():
        from lamsearch.agreement.agree import agree
        from lamsearch.agreement.files import require_writable, write_files
        from lamsearch.process import quiet_libraries

        quiet_libraries()
    if output is not None:
        output = output.absolute()  # a reward may change the working directory
        require_writable(output)
    with prints_to_stderr(), SearchProgress(message_console(), images=0) as progress:
        found = agree(**{**options, "config": settings.path, "progress": progress})
    print_agreement(found, as_json=as_json)
    if output is not None:
        write_files(found, output)
        say(f"wrote figures and tables to {output}")
