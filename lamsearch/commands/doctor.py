"""`lamsearch doctor`: check an installation and its settings before a search."""

from __future__ import annotations

import argparse
from typing import Any

from lamsearch.commands.places import add_output, add_settings, add_storage
from lamsearch.commands.printing import print_json, print_table
from lamsearch.errors import LamsearchError


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.doctor.config import DoctorConfig
    from lamsearch.flags import add_flags

    add_settings(command)
    add_flags(command, (DoctorConfig,))
    add_storage(command)
    add_output(command, json=True)


def run(options: dict[str, Any]) -> None:
    """Check an installation and its settings.

    Raises:
        LamsearchError: If something is wrong, after everything has been printed.
    """
    from lamsearch.doctor.config import DoctorConfig
    from lamsearch.process import quick_imports, quiet_libraries, spin_less
    from lamsearch.standard_streams import prints_to_stderr

    config = DoctorConfig.select(options)
    spin_less(None)
    with quick_imports():
        from lamsearch.doctor.diagnose import diagnose
        from lamsearch.doctor.table import diagnosis_table
        from lamsearch.study.storage import chosen_storage

        quiet_libraries()
    with prints_to_stderr():
        found = diagnose(options["config"], chosen_storage(options["storage"]), config)
    if options["json"]:
        print_json(found.to_json())
    else:
        print_table(diagnosis_table(found))
    if found.wrong:
        raise LamsearchError(f"{', '.join(found.wrong)}: wrong, see above")
