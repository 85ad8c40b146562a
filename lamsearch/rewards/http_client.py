"""JSON over HTTP with timeouts and retries; one origin, no redirects, no other kinds of URL."""

import ipaddress
import json
import random
from collections.abc import Mapping
from http.client import HTTPException
from ssl import SSLCertVerificationError
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from lamsearch.config.server_urls import redacted_url, url_problem
from lamsearch.errors import RewardError, first_line

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
"""Seconds between attempts: they double from the first to the longest."""

MOST_BYTES = 4_000_000
"""A larger answer is refused: scores of a batch take a few hundred bytes."""

_PASSING = (408, 425, 429, 500, 502, 503, 504)


class _PassingError(Exception):
    """A failure that may pass, with the seconds that the server asks to wait."""

    def __init__(self, text: str, wait: float = 0.0):
        super().__init__(text)
        self.wait = wait


class JSONClient:
    """Sends requests to one server.

    Args:
        url: Its `http` or `https` address, without user, query or fragment.
        timeout: Seconds that one attempt may take.
        retries: Number of further attempts after a failure that may pass.
        headers: Headers of every request; they are never shown.

    Raises:
        RewardError: If the URL is not of that form.
    """

    def __init__(self, url: str, *, timeout: float, retries: int, headers: Mapping[str, str]):
        if problem := url_problem(url):
            raise RewardError(f"url {redacted_url(url)!r} given, {problem}")
        self.url = url.rstrip("/")
        self.timeout, self.retries = timeout, retries
        self._headers = {**headers, "Accept": "application/json"}
        self._random = random.Random()
        # Only these handlers: no redirects, which would send images and keys elsewhere, and no
        # files. A proxy from the environment cannot reach this machine's own addresses.
        self._opener = OpenerDirector()
        for handler in (ProxyHandler({} if _is_local(url) else None), HTTPHandler, HTTPSHandler):
            self._opener.add_handler(handler() if isinstance(handler, type) else handler)

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object at a path of the server.

        Raises:
            RewardError: If the server fails, or the answer is no JSON object.
        """
        return self._attempts(Request(self.url + path, headers=self._headers))

    def post(self, path: str, value: Any) -> dict[str, Any]:
        """Return the JSON object that answers a JSON value.

        Raises:
            RewardError: If the server fails, or the answer is no JSON object.
        """
        headers = {**self._headers, "Content-Type": "application/json"}
        return self._attempts(Request(self.url + path, json.dumps(value).encode(), headers))

    def _attempts(self, request: Request) -> dict[str, Any]:
        for attempt in range(self.retries + 1):
            try:
                return self._parsed(self._answer(request))
            except _PassingError as error:
                reason, asked = str(error), error.wait
            if attempt < self.retries:
                # Half of it is random, so that several workers do not return at the same moment.
                wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
                wait *= self._random.uniform(0.5, 1.0)
                sleep(min(LONGEST_WAIT, max(wait, asked)))
        times = "once" if self.retries == 0 else f"{self.retries + 1} times"
        raise RewardError(f"the reward server {self.url} failed {times}: {reason}")

    def _answer(self, request: Request) -> bytes:
        """Return the body of a successful answer."""
        deadline = monotonic() + self.timeout
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                body = _read(response, deadline)
                status, asked = response.status, response.headers.get("Retry-After", "")
        except (HTTPException, OSError, UnicodeError) as error:  # the last for a host's name
            reason = error.reason if isinstance(error, URLError) else error
            text = first_line(reason) if isinstance(reason, Exception) else str(reason)
            if isinstance(reason, SSLCertVerificationError):
                raise RewardError(f"the reward server {self.url}: {text}") from error
            raise _PassingError(text or type(reason).__name__) from error
        if status in _PASSING:
            raise _PassingError(_refusal(status, body), float(asked) if asked.isdecimal() else 0.0)
        if 300 <= status < 400:
            place = redacted_url(response.headers.get("Location", "elsewhere"))
            raise RewardError(
                f"the reward server {self.url} redirects to {place!r}; give the final address"
            )
        if status != 200:
            raise RewardError(f"the reward server {self.url} refused: {_refusal(status, body)}")
        return body

    def _parsed(self, body: bytes) -> dict[str, Any]:
        try:
            value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            problem = f"returned no JSON: {first_line(error)}"
            raise RewardError(f"the reward server {self.url} {problem}") from error
        if not isinstance(value, dict):
            raise RewardError(f"the reward server {self.url} returned no JSON object")
        return value


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: Any, deadline: float) -> bytes:
    """Return the whole body. The socket's timeout alone would not end a trickle of bytes."""
    body = bytearray()
    while chunk := response.read1(65536):
        body += chunk
        if len(body) > MOST_BYTES:
            raise RewardError(f"a reward server returned more than {MOST_BYTES} bytes")
        if monotonic() > deadline:
            raise TimeoutError("timed out")
    return bytes(body)


def _refusal(status: int, body: bytes) -> str:
    """Return the status and the beginning of what the server says about it."""
    said = " ".join(body[:1000].decode("utf-8", "replace").split())
    shown = "".join(letter for letter in said if letter.isprintable())[:200]
    hint = "; a smaller batch_size may help" if status == 413 else ""
    return f"HTTP status {status}" + (f" ({shown})" if shown else "") + hint


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; null means no score")
