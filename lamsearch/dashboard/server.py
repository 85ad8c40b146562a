"""Serves the dashboard on this machine, to this machine's own pages."""

from __future__ import annotations

from collections.abc import Iterable
from socketserver import ThreadingMixIn
from threading import Lock
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer, make_server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each connection: browsers open some that they do not use."""

    daemon_threads = True


def serve(application: WSGIApplication, port: int) -> WSGIServer:
    """Return a server of the application on the loopback.

    Raises:
        OSError: If the port cannot be used.
    """
    return make_server(HOST, port, guarded(application), server_class=_Server)


def guarded(application: WSGIApplication) -> WSGIApplication:
    """Return an application that answers one request at a time, and none for another host's name.

    A page of a stranger can point its own name at the loopback, and would read what it is served
    (DNS rebinding).
    """
    lock = Lock()

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        # With any port, which a tunnel may change.
        if environ.get("HTTP_HOST", "").partition(":")[0] not in (HOST, "localhost"):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [f"open it as http://{HOST}:PORT".encode()]
        with lock:
            found: Any = application(environ, start)
            try:
                return list(found)
            finally:
                if hasattr(found, "close"):
                    found.close()

    return answer
