"""Serves the voting page on this machine until it is stopped."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from lamsearch.errors import SettingsError
from lamsearch.report.summarize import summarize
from lamsearch.report.table import lam_digits, people_line
from lamsearch.study.database import Study
from lamsearch.voting.app import Pages, voting_app
from lamsearch.voting.ballots import BallotBox, kept_images
from lamsearch.voting.config import VoteConfig

_ADDRESS = "127.0.0.1"
_GRACE_SECONDS = 2


class VotingServer:
    """The page of one study, bound to a port of this machine; `serve` runs it.

    Args:
        study: The study, open for work.
        config: Options.

    Raises:
        SettingsError: If the port is taken.
        StudyError: If the study has no images to compare.
    """

    def __init__(self, study: Study, config: VoteConfig) -> None:
        box = BallotBox(study, kept_images(study))
        try:
            self._socket = socket.create_server((_ADDRESS, config.port))
        except OSError as error:
            raise SettingsError(
                f"port {config.port} cannot be used ({error.strerror}): choose another with --port"
            ) from error
        port, token = self._socket.getsockname()[1], secrets.token_urlsafe(24)
        self.url = f"http://{_ADDRESS}:{port}/{token}/"
        pages = Pages(
            box, rater=config.rater_name, answer=lambda: shown_answer(study), stop=self.stop
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                voting_app(pages, port=port, token=token),
                access_log=False,  # its lines would hold the token
                log_level=logging.WARNING,
                lifespan="off",
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )

    def serve(self, on_start: Callable[[str], None]) -> None:
        """Answer requests until `stop`, or a signal, which is raised again at the end."""
        on_start(self.url)
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `serve` after the requests under way."""
        self._server.should_exit = True


def shown_answer(study: Study) -> dict[str, Any]:
    """Return what the page shows of the study: people's answer and the reward's."""
    summary = summarize(study)
    (low, high), people, digits = summary.lam_interval, summary.people, lam_digits(summary)
    return {
        "people": None if people is None else people_line(people, digits),
        "reward": f"{summary.reward or 'reward'}'s λ*  {summary.lam:.{digits}f}   "
        f"95 % interval {low:.{digits}f} to {high:.{digits}f}",
        "notes": [note.text for note in summary.notes if note.code == "people"],
    }
