"""`lamsearch export`: write a study's λ* as a folder that other programs load."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lamsearch.commands.places import add_output, add_settings, add_storage, add_study
from lamsearch.commands.printing import print_json, say


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.exports.config import ExportConfig
    from lamsearch.flags import add_flags

    add_study(command)
    command.add_argument(
        "folder", type=Path, metavar="DIR", help="folder to write, which must be new or empty"
    )
    add_settings(command)
    add_flags(command, (ExportConfig,), required=("as_",))
    add_storage(command)
    add_output(command, json=True)


def run(options: dict[str, Any]) -> None:
    """Write a study's λ* as a folder that other programs load."""
    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.exports.config import ExportConfig
    from lamsearch.process import quick_imports, quiet_libraries, spin_less
    from lamsearch.standard_streams import prints_to_stderr

    config = ExportConfig.select(options)
    settings = load_settings(find_settings(options["config"]))
    say(f"settings {settings.path}")
    for anchor in list(settings.anchors.values())[:1]:  # the study's is known only later
        spin_less(Path(anchor.reference), config.device)
    with quick_imports():
        from lamsearch.exports.export import export
        from lamsearch.study.storage import chosen_storage

        quiet_libraries()
    with prints_to_stderr():
        found = export(
            options["study"],
            options["folder"],
            storage=chosen_storage(options["storage"]),
            settings=settings,
            config=config,
            say=say,
        )
    if options["json"]:
        print_json(found.to_json())
    say(f"wrote {found.folder}; its README.md says how to load it")
