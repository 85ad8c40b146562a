"""`lamsearch dashboard`: show studies in optuna-dashboard, on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from lamsearch.commands.places import add_output, add_storage
from lamsearch.commands.printing import say
from lamsearch.errors import LamsearchError


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    from lamsearch.dashboard.config import DashboardConfig
    from lamsearch.flags import add_flags

    add_flags(command, (DashboardConfig,))
    add_storage(command)
    add_output(command)


def run(options: dict[str, Any]) -> None:
    """Serve the dashboard until Ctrl-C.

    Raises:
        LamsearchError: If the port is taken.
    """
    from lamsearch.dashboard.config import DashboardConfig
    from lamsearch.process import quick_imports, spin_less

    config = DashboardConfig.select(options)
    spin_less()
    with quick_imports():
        from lamsearch.dashboard.server import HOST, serve
        from lamsearch.dashboard.shown_storage import application
        from lamsearch.study.storage import chosen_storage

    app = application(chosen_storage(options["storage"]))
    try:
        server = serve(app, config.port)
    except OSError as error:
        raise LamsearchError(
            f"port {config.port} cannot be used ({error.strerror}): name another with --port"
        ) from error
    with server:
        say(f"dashboard at http://{HOST}:{config.port}, which changes nothing; Ctrl-C ends it")
        server.serve_forever()
