"""The page's requests: the next ballot, its images, a vote, the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from lamsearch.errors import LamsearchError
from lamsearch.study.votes import CHOICES
from lamsearch.voting.ballots import BallotBox, UnknownBallotError
from lamsearch.voting.config import rater_name
from lamsearch.voting.guard import Guard

_PAGE = Path(__file__).parent / "page"
_FILES = {"": "text/html", "vote.js": "text/javascript", "vote.css": "text/css"}
_LARGEST_BODY = 4096

Answer = Callable[[], dict[str, Any]]
"""Returns what the study says now, as the page shows it."""


class Pages:
    """Answers the page's requests.

    Args:
        box: Where ballots come from and votes go.
        rater: Name that the page begins with.
        answer: What the study says.
        stop: Ends the server.
    """

    def __init__(
        self, box: BallotBox, *, rater: str, answer: Answer, stop: Callable[[], None]
    ) -> None:
        self._box, self._rater, self._answer, self._stop = box, rater, answer, stop

    def routes(self) -> list[Route]:
        """Return what is served, all below the token."""
        return [
            *(Route(f"/{name}", _file(name)) for name in _FILES),
            Route("/rater", self._begin),
            Route("/next", self._next),
            Route("/image/{word}/{side}", self._image),
            Route("/vote", self._vote, methods=["POST"]),
            Route("/answer", self._show),
            Route("/done", self._done, methods=["POST"]),
        ]

    async def _begin(self, _: Request) -> Response:
        return JSONResponse({"rater": self._rater})

    def _next(self, request: Request) -> Response:
        rater = rater_name(request.query_params.get("rater"))
        ballot, (own, total) = self._box.hand_out(rater), self._box.count(rater)
        prompt = self._box.prompt(ballot)
        return JSONResponse({"ballot": ballot.word, "prompt": prompt, "own": own, "total": total})

    def _image(self, request: Request) -> Response:
        side = request.path_params["side"]
        if side not in ("left", "right"):
            return _problem("expected left or right", 404)
        file = self._box.file(request.path_params["word"], side)
        return Response(file.read_bytes(), media_type="image/png")

    async def _vote(self, request: Request) -> Response:
        given = await _object(request)
        rater, choice = rater_name(given.get("rater")), given.get("choice")
        if choice not in CHOICES:
            raise ValueError(f"choice {choice!r:.40} given, expected {', '.join(CHOICES)}")
        word = str(given.get("ballot"))
        await run_in_threadpool(self._box.cast, word, choice=choice, rater=rater)
        return JSONResponse({"stored": True})

    def _show(self, _: Request) -> Response:
        return JSONResponse(self._answer())

    async def _done(self, request: Request) -> Response:
        await _object(request)
        self._stop()
        return JSONResponse({"done": True})


def voting_app(pages: Pages, *, port: int, token: str) -> Starlette:
    """Return the application, guarded: see `guard`."""
    return Starlette(
        routes=[Mount(f"/{token}", routes=pages.routes())],
        middleware=[Middleware(Guard, port=port, token=token)],
        exception_handlers={
            UnknownBallotError: lambda _, __: _problem("this pair is no longer open", 409),
            ValueError: lambda _, error: _problem(str(error), 400),
            OSError: lambda _, error: _problem(f"an image cannot be read: {error}", 500),
            LamsearchError: lambda _, error: _problem(str(error), 503),
        },
    )


async def _object(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request; other types of content need no leave of the browser.

    Raises:
        ValueError: If it is none.
    """
    if request.headers.get("content-type") != "application/json":
        raise ValueError("expected application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_BODY:
            raise ValueError(f"more than {_LARGEST_BODY} bytes given")
    given = json.loads(body)
    if not isinstance(given, dict):
        raise ValueError("expected a JSON object")
    return given


def _file(name: str) -> Callable[[Request], Response]:
    content = (_PAGE / (name or "index.html")).read_bytes()
    return lambda _: Response(content, media_type=_FILES[name])


def _problem(line: str, status: int) -> JSONResponse:
    return JSONResponse({"error": " ".join(line.split())}, status)
