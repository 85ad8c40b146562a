"""Who may talk to the page: only this machine's browser, with the token, from the page itself.

A page on the internet can make a browser send requests to 127.0.0.1, and can give its own name that
address ("DNS rebinding"). Against these: a token that only the terminal shows, the Host header,
and the Origin and Sec-Fetch headers, which scripts cannot forge.
"""

from __future__ import annotations

import secrets
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")

SECURITY_HEADERS = MappingProxyType(
    {
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
)
"""Sent with every answer, refusals included."""


class Guard:
    """Middleware that refuses what does not come from the page, and adds the security headers.

    Args:
        app: What answers the others.
        port: Port of the server.
        token: First part of every path.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{host}:{port}" for host in HOSTS}
        if port == 80:  # the default one, which browsers leave out
            self._hosts |= set(HOSTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        app = self._app if refusal is None else refusal
        await app(scope, receive, _with_security_headers(send))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if scope["type"] != "http":
            return PlainTextResponse("only HTTP is served here\n", 400)
        headers = Headers(scope=scope)
        if headers.getlist("host") not in [[host] for host in self._hosts]:
            return PlainTextResponse("this page is served to 127.0.0.1 only\n", 421)
        if not self._is_own(headers):
            return PlainTextResponse("requests of other pages are refused\n", 403)
        given = scope["path"].removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return PlainTextResponse("the address lacks the token that the terminal shows\n", 403)
        return None

    def _is_own(self, headers: Headers) -> bool:
        origins = headers.getlist("origin")
        if any(origin.removeprefix("http://") != headers["host"] for origin in origins):
            return False
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        return site in (None, "same-origin", "none") or mode == "navigate"


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return send_with_headers
