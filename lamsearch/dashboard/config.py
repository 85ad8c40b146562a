"""Options of `lamsearch dashboard`."""

from __future__ import annotations

from lamsearch.config.fields import Config, option


class DashboardConfig(Config):
    """Options of the dashboard's server.

    Raises:
        SettingsError: If the port is none.
    """

    port: int = option(
        8080,
        "Port on this machine, which no other one can reach.",
        group="search",
        metavar="N",
        ge=1,
        le=65535,
        expected="a port from 1 to 65535",
        strict=True,
    )
