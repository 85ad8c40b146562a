"""The reward over HTTP, against real servers on a free port of this machine."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from examples import reward_server
from lamsearch.config.expressions import Objective
from lamsearch.config.settings import load_settings
from lamsearch.errors import RewardError, SettingsError
from lamsearch.evaluation.manifest import panel_manifest
from lamsearch.rewards import Panel, load_reward
from lamsearch.rewards import http_client as client_module
from lamsearch.rewards.http import HTTPReward, png_text
from tiny_clip import pictures

IMAGES = pictures(5)
PROMPTS = ["a", "bb", "fail", "dddd", "eeeee"]
INFO = {"name": "mine", "version": "1", "scale": "points"}


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(reward_server.Handler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def example() -> Iterator[str]:
    with served(Quiet) as url:
        yield url


@pytest.fixture
def server() -> Iterator[Any]:
    """A server whose answers a test sets: `answers` in turn, then the last one again."""

    class Handler(Quiet):
        answers: ClassVar[list[tuple[int, Any]]] = [(200, {"scores": [1.0]})]
        headers_out: ClassVar[dict[str, str]] = {}
        info: Any = INFO
        seen: ClassVar[list[tuple[str, Any, Any]]] = []

        def do_GET(self) -> None:
            self.send(200, self.info)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.seen.append((self.path, dict(self.headers), body))
            self.send(*(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))

        def send(self, status: int, value: Any) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Length": str(len(body)), **self.headers_out}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

    with served(Handler) as url:
        Handler.url = url
        yield Handler


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which no test sits through."""
    pauses: list[float] = []
    monkeypatch.setattr(client_module, "sleep", pauses.append)
    return pauses


def brightness(image: Image.Image) -> float:
    return float(np.asarray(image.convert("L"), dtype=float).mean() / 255)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_scores_are_those_of_the_server(example: str, batch_size: int):
    reward = HTTPReward(f"{example}/brightness", batch_size=batch_size)
    assert (reward.name, reward.scale) == ("brightness", "0 to 1")
    scores = reward.score(IMAGES, PROMPTS)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, [brightness(image) for image in IMAGES], rtol=1e-6)
    assert reward.score([], []).shape == (0,)


def test_an_image_that_fails_has_no_score_and_never_zero(example: str):
    scores = HTTPReward(f"{example}/flaky", batch_size=3).score(IMAGES, PROMPTS)
    expected = [brightness(i) + len(p) for i, p in zip(IMAGES, PROMPTS, strict=True)]
    assert np.isnan(scores[2])
    np.testing.assert_allclose(np.delete(scores, 2), np.delete(expected, 2), rtol=1e-6)


def test_images_arrive_as_they_are_whatever_their_mode(server: Any):
    grey = IMAGES[0].convert("L")
    HTTPReward(server.url).score([grey], ["a “red” 7\n\ud800"])
    path, _, body = server.seen[0]
    assert path == "/score"
    assert body["prompts"] == ["a “red” 7\n\ud800"]
    sent = Image.open(io.BytesIO(base64.b64decode(body["images"][0])))
    assert sent.format == "PNG"
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(grey.convert("RGB")))
    assert png_text(grey) == body["images"][0]


def settings_of(folder: Path, keys: str) -> Any:
    (folder / "lamsearch.toml").write_text(f"[rewards.mine]\ntype = 'http'\n{keys}\n")
    return load_settings(folder / "lamsearch.toml")


def test_the_manifest_has_name_version_and_scale_but_neither_address_nor_keys(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCORER_KEY", "Bearer secret-123")
    keys = f"url = '{server.url}'\ntimeout = 5\nbatch_size = 2\n"
    keys += "headers = { Authorization = 'SCORER_KEY' }"
    settings = settings_of(tmp_path, keys)
    reward = load_reward(settings.reward("mine"))
    reward.score(IMAGES[:1], PROMPTS[:1])
    assert server.seen[0][1]["Authorization"] == "Bearer secret-123"
    assert panel_manifest(settings, Panel(Objective({"mine": 1.0}), {"mine": reward})) == {
        "reward": "mine",
        "reward_kind": "http",
        "reward_options": {},
        "reward_scale": "points",
        "reward_weights": None,
        "reward_server": "mine",
        "reward_version": "1",
    }
    monkeypatch.delenv("SCORER_KEY")
    with pytest.raises(RewardError, match="environment variable SCORER_KEY is not set"):
        load_reward(settings.reward("mine"))
    monkeypatch.setenv("SCORER_KEY", "secret\r\nX-Other: 1")
    with pytest.raises(RewardError, match="SCORER_KEY holds more than one line") as caught:
        load_reward(settings.reward("mine"))
    assert "secret" not in str(caught.value)


def test_a_failure_that_passes_is_tried_again_with_longer_pauses(server: Any, waits: list[float]):
    server.answers = [(503, {}), (500, b"\xff"), (429, {}), (200, {"scores": [2.5]})]
    assert HTTPReward(server.url, retries=3).score(IMAGES[:1], ["a"]) == [2.5]
    assert len(waits) == 3
    for pause, longest in zip(waits, (0.5, 1.0, 2.0), strict=True):
        assert longest / 2 <= pause <= longest


def test_the_server_says_how_long_to_wait_up_to_a_limit(server: Any, waits: list[float]):
    reward = HTTPReward(server.url, retries=2)
    server.headers_out = {"Retry-After": "7"}
    server.answers = [(503, {}), (200, {"scores": [1.0]})]
    reward.score(IMAGES[:1], ["a"])
    server.headers_out = {"Retry-After": "86400"}
    server.answers = [(503, {}), (200, {"scores": [1.0]})]
    reward.score(IMAGES[:1], ["a"])
    assert waits == [7.0, client_module.LONGEST_WAIT]


def test_pauses_stay_below_the_longest(server: Any, waits: list[float]):
    server.answers = [(503, {"error": "loading the model"})]
    with pytest.raises(RewardError, match=r"failed 13 times: HTTP status 503 .*loading the model"):
        HTTPReward(server.url, retries=12).score(IMAGES[:1], ["a"])
    assert len(waits) == 12
    assert max(waits) <= client_module.LONGEST_WAIT


def test_a_server_that_is_not_there(waits: list[float]):
    with served(Quiet) as gone:
        pass
    with pytest.raises(RewardError, match=f"server {gone} failed 3 times: .*refused"):
        HTTPReward(gone, retries=2)
    assert len(waits) == 2


@pytest.mark.parametrize("trickle", [False, True])
def test_a_server_that_is_too_slow(trickle: bool):
    stop = threading.Event()

    class Slow(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            while trickle and not stop.wait(0.05):  # each byte within the socket's own timeout
                self.wfile.write(b" ")
            stop.wait(5)

    began = time.monotonic()
    with served(Slow) as url:
        with pytest.raises(RewardError, match=r"failed once: .*timed out"):
            HTTPReward(url, retries=0, timeout=0.3)
        stop.set()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"scores": [1, 2]}, "returned 2 scores for 1 images"),
        ({"scores": []}, "returned 0 scores for 1 images"),
        ({"scores": {"0": 1}}, "returned no list 'scores'"),
        ({}, "returned no list 'scores'"),
        ({"scores": ["0.3"]}, "returned the score '0.3', expected a finite number, or null"),
        ({"scores": [True]}, "returned the score True"),
        ({"scores": [[1]]}, r"returned the score \[1\]"),
        ({"scores": [1e151]}, r"returned the score 1e\+151"),
        ({"scores": [10**400]}, "returned the score 1000000"),
        (b'{"scores": [NaN]}', "returned no JSON: NaN is not JSON; null means no score"),
        (b'{"scores": [Infinity]}', "returned no JSON: Infinity is not JSON"),
        (b'{"scores": [1e999]}', "returned the score inf"),
        (b"[1]", "returned no JSON object"),
        (b"<html>", "returned no JSON"),
        (b"\x80\x04K\x01.", "returned no JSON"),  # a pickle
        (b"[" * 100_000, "returned no JSON"),
        (b" " * 5_000_000, "returned more than 4000000 bytes"),
        ({"scores": [1], "version": "2"}, "its version is now '2', and was '1'"),
    ],
)
def test_an_answer_that_breaks_the_protocol(server: Any, answer: Any, complaint: str):
    server.answers = [(200, answer)]
    with pytest.raises(RewardError, match=complaint) as caught:
        HTTPReward(server.url).score(IMAGES[:1], ["a"])
    assert "\n" not in str(caught.value)
    assert len(server.seen) == 1
    server.seen.clear()


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (400, r"refused: HTTP status 400 \(\{\"error\": \"no\"\}\)"),
        (401, "refused: HTTP status 401"),
        (413, "a smaller batch_size may help"),
        (302, "redirects to 'http://elsewhere.example/x'; give the final address"),
        (307, "redirects to"),
    ],
)
def test_a_refusal_or_redirect_is_final(
    server: Any, status: int, complaint: str, waits: list[float]
):
    reward = HTTPReward(server.url)
    server.headers_out = {"Location": "http://me:secret@elsewhere.example/x?key=secret"}
    server.answers = [(status, {"error": "no"})]
    with pytest.raises(RewardError, match=complaint) as caught:
        reward.score(IMAGES[:1], ["a"])
    assert "secret" not in str(caught.value)
    assert waits == []


@pytest.mark.parametrize("info", [{}, [], {**INFO, "scale": 3}, {**INFO, "version": ""}])
def test_a_server_that_does_not_say_what_it_is(server: Any, info: Any):
    server.info = info
    with pytest.raises(RewardError, match=r"no JSON object|expected name, version, scale"):
        HTTPReward(server.url)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert HTTPReward(server.url, retries=0).name == "mine"


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("", "rewards.mine.url: missing, but required"),
        ("url = 'file:///etc/passwd'", "rewards.mine.url: 'file:///etc/passwd' given, expected"),
        ("url = 'localhost:8000'", "expected http://HOST:PORT"),
        ("url = 'http://'", "expected http://HOST:PORT"),
        ("url = 'http://h:99999'", "which is no URL"),
        ("url = 'https://me:secret@h/x'", "'https://h/x' given, expected it without a user"),
        ("url = 'https://h/x?key=secret'", "'https://h/x' given, expected it without query"),
        ("url = 'http://h/a b'", "without query, fragment, spaces"),
        ("url = 'http://h'\ntimeout = 0", "timeout: 0 given, expected a number > 0"),
        ("url = 'http://h'\nretries = -1", "retries: -1 given, expected an integer >= 0"),
        ("url = 'http://h'\nbatch_size = 0", "batch_size: 0 given, expected an integer >= 1"),
        ("url = 'http://h'\nheader = {}", "did you mean 'headers'?"),
        ("url = 'http://h'\nheaders = { A = 'Bearer secret' }", "name of an environment variable"),
        ("url = 'http://h'\nheaders = { Host = 'X' }", "'Host' given, expected the name of an"),
        ("url = 'http://h'\nheaders = { 'a b' = 'X' }", "'a b' given, expected the name of an"),
    ],
)
def test_wrong_settings_are_one_clear_line(tmp_path: Path, keys: str, complaint: str):
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, keys)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_is_checked_in_python_too():
    with pytest.raises(RewardError, match="url 'https://h/x' given, expected it without a user"):
        HTTPReward("https://me:secret@h/x")
