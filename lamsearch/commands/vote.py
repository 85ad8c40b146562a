"""`lamsearch vote`: people vote on blind pairs of a study's images."""

from __future__ import annotations

import argparse
from typing import Any

from lamsearch.commands.places import add_output, add_storage, add_study
from lamsearch.commands.printing import print_summary, say
from lamsearch.commands.studies import answer_of, open_study
from lamsearch.errors import SettingsError


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.flags import add_flags
    from lamsearch.voting.config import VoteConfig

    add_study(command)
    add_flags(command, (VoteConfig,))
    add_storage(command)
    add_output(command, json=True)


def run(options: dict[str, Any]) -> None:
    """Serve the page until it is stopped, and print the answer."""
    from lamsearch.voting.config import VoteConfig

    config = VoteConfig.select(options)
    found = open_study(options)
    if found.is_agreement:
        raise SettingsError(
            f"study '{found.name}' is an agreement of a family of anchors: vote on a search"
        )
    try:
        from lamsearch.voting.server import VotingServer
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise SettingsError(
            f"lamsearch vote needs {error.name}, of the extra vote: pip install 'lamsearch[vote]'"
        ) from error
    import optuna

    from lamsearch.study.database import Study
    from lamsearch.voting.ballots import kept_images, require_pairs

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    require_pairs(found, kept_images(found))  # before anything is opened to be written
    study = Study.create(found.name, found.storage)
    try:
        VotingServer(study, config).serve(lambda url: say(f"vote at {url} (Ctrl-C ends it)"))
    except KeyboardInterrupt as signal:
        if type(signal) is not KeyboardInterrupt:  # SIGTERM; Ctrl-C is how a vote ends
            raise
    print_summary(answer_of(study), as_json=options["json"])
