"""Scorers behind HTTP: for reward models that need a Python environment of their own.

The protocol is JSON both ways (docs/how-to/reward-server.md): `GET URL/info` tells the name,
version and scale, and `POST URL/score` takes base64-encoded PNGs and their prompts.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from lamsearch.errors import RewardError
from lamsearch.rewards.base import Scores
from lamsearch.rewards.http_client import JSONClient
from lamsearch.study.batches import LARGEST_SCORE

INFO_KEYS = ("name", "version", "scale")


class HTTPReward:
    """Scores that a server computes; an image that it cannot score has the score NaN.

    Args:
        url: Address of the scorer; `/info` and `/score` are added to it.
        timeout: Seconds that one request may take.
        retries: Number of further attempts after a failure that may pass, such as a refused
            connection, a timeout or an HTTP status 429 or 5xx.
        batch_size: Images per request.
        headers: Name of an HTTP header → name of the environment variable with its value.

    Attributes:
        name: The server's name for the scorer.
        scale: The unit of its scores.
        identity: Its name and version: what decides its scores.
        operational: Options that do not change a score.

    Raises:
        RewardError: If a variable is not set, or the server cannot be reached or understood.
    """

    operational = ("url", "timeout", "retries", "batch_size", "headers")

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 120.0,
        retries: int = 5,
        batch_size: int = 8,
        headers: Mapping[str, str] | None = None,
    ):
        values = {name: _variable(name, variable) for name, variable in (headers or {}).items()}
        self.client = JSONClient(url, timeout=timeout, retries=retries, headers=values)
        self.batch_size = batch_size
        info = self._info(self.client.get("/info"))
        self.name, self.scale = info["name"], info["scale"]
        self.identity = {"server": info["name"], "version": info["version"]}

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        """Return the server's scores, (B,) float64; NaN for an image that it could not score.

        Raises:
            RewardError: If the server fails, its answer is not what the protocol says, or its
                version has changed since it was first asked.
        """
        starts = range(0, len(images), self.batch_size)
        rows = [
            self._batch(images[i : i + self.batch_size], prompts[i : i + self.batch_size])
            for i in starts
        ]
        return np.concatenate([np.zeros(0), *rows])

    def _batch(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Scores:
        request = {"images": [png_text(image) for image in images], "prompts": list(prompts)}
        answer = self.client.post("/score", request)
        scores = answer.get("scores")
        if not isinstance(scores, list) or len(scores) != len(images):
            given = f"{len(scores)} scores" if isinstance(scores, list) else "no list 'scores'"
            raise self._broken(f"{given} for {len(images)} images")
        version = answer.get("version", self.identity["version"])
        if version != self.identity["version"]:
            changed = f"its version is now {version!r}, and was {self.identity['version']!r}"
            raise self._broken(f"{changed}; scores of two versions cannot be compared")
        return np.array([self._number(score) for score in scores], dtype=np.float64)

    def _number(self, score: Any) -> float:
        """Return a score as a float, NaN for null; anything but a usable number is refused."""
        if score is None:
            return float("nan")
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if is_number and -LARGEST_SCORE <= score <= LARGEST_SCORE:  # False for NaN
            return float(score)
        shown = repr(score)[:40]
        raise self._broken(f"the score {shown}, expected a finite number, or null for none")

    def _info(self, info: Mapping[str, Any]) -> dict[str, str]:
        for key in INFO_KEYS:
            if not isinstance(info.get(key), str) or not info[key].strip():
                raise self._broken(f"no text {key!r} in /info; expected {', '.join(INFO_KEYS)}")
        return {key: info[key] for key in INFO_KEYS}

    def _broken(self, what: str) -> RewardError:
        return RewardError(f"the reward server {self.client.url} returned {what}")


def png_text(image: Image.Image) -> str:
    """Return the RGB image as a base64-encoded PNG."""
    buffer = io.BytesIO()
    # Lossless at any level; the default level takes several times as long for a few per cent.
    image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _variable(header: str, variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise RewardError(f"header '{header}': the environment variable {variable} is not set")
    if not (value.isascii() and value.isprintable()):
        raise RewardError(f"header '{header}': {variable} holds more than one line of plain ASCII")
    return value
