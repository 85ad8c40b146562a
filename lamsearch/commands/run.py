"""`lamsearch run`: search λ, or resume a search."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from lamsearch.commands.places import add_output, add_settings, add_storage
from lamsearch.commands.printing import print_summary, say


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.bayesopt.config import SearchConfig
    from lamsearch.evaluation.config import ConfirmationConfig, ImagesConfig
    from lamsearch.flags import add_flags
    from lamsearch.tracking.config import TrackingConfig

    command.add_argument("--anchor", required=True, metavar="NAME", help="anchor in the settings")
    command.add_argument(
        "--reward", required=True, metavar="NAME", help='a reward, or a sum: "pickscore + 0.3*clip"'
    )
    add_settings(command)
    configs = (SearchConfig, ImagesConfig, ConfirmationConfig, TrackingConfig)
    add_flags(command, configs, required=("budget",))
    add_storage(command, "ANCHOR-REWARD-seedS")
    add_output(command, json=True)


def run(options: dict[str, Any]) -> None:
    """Search λ, or resume a search."""
    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.process import quick_imports, quiet_libraries, spin_less
    from lamsearch.report.progress import SearchProgress
    from lamsearch.report.terminal import message_console
    from lamsearch.standard_streams import prints_to_stderr

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
    with prints_to_stderr(), SearchProgress(message_console(), images=total) as progress:
        summary = search(**{**options, "config": settings.path, "progress": progress})
    print_summary(summary, as_json=as_json)
    where = ["--storage", summary.storage] if options["storage"] and summary.storage else []
    for verb, output in (("plot", "curve.png"), ("report", "report.html")):
        say(f"{verb} it: {shlex.join(['lamsearch', verb, summary.study, *where, '-o', output])}")
