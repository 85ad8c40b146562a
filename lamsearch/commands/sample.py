"""`lamsearch sample`: draw a strip of images over λ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lamsearch.commands.places import add_output, add_settings, add_storage
from lamsearch.commands.printing import print_json, say


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.exports.config import SampleConfig
    from lamsearch.flags import add_flags

    command.add_argument("--anchor", required=True, metavar="NAME", help="anchor in the settings")
    command.add_argument(
        "--study", metavar="NAME", help="study of this anchor, whose λ* becomes a column"
    )
    add_settings(command)
    add_flags(command, (SampleConfig,))
    add_storage(command)
    add_output(
        command,
        json=True,
        file="a .png, .webp or .jpg, or a folder for the single images too",
        required=True,
    )


def run(options: dict[str, Any]) -> None:
    """Draw a strip of images over λ."""
    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.exports.config import SampleConfig
    from lamsearch.process import quick_imports, quiet_libraries, spin_less
    from lamsearch.standard_streams import prints_to_stderr

    config = SampleConfig.select(options)
    settings = load_settings(find_settings(options["config"]))
    anchor = settings.anchor(options["anchor"])
    say(f"settings {settings.path}")
    spin_less(Path(anchor.reference), config.device)
    with quick_imports():
        from lamsearch.exports.sample import sample
        from lamsearch.report.json_form import to_json
        from lamsearch.study.storage import chosen_storage

        quiet_libraries()
    with prints_to_stderr():
        found = sample(
            anchor.name,
            options["output"],
            settings=settings,
            config=config,
            study=options["study"],
            storage=chosen_storage(options["storage"]),
        )
    if options["json"]:
        print_json(to_json(found))
    if found.missing:
        say(f"note: {found.missing} images are missing: not finite, of one colour, or blocked")
    say(f"wrote {found.output}")
