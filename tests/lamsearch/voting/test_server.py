"""The voting page over real HTTP: votes are stored, and nobody else may talk to it."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from lamsearch.errors import SettingsError, StudyError
from lamsearch.report.summarize import summarize
from lamsearch.study.database import Study
from lamsearch.voting.config import VoteConfig
from lamsearch.voting.guard import SECURITY_HEADERS
from lamsearch.voting.server import VotingServer

from .voted_study import PROMPTS, make_study, serving


class Client:
    """A browser's requests, headers as given."""

    def __init__(self, url: str) -> None:
        self.host, self.path = urlsplit(url).netloc, urlsplit(url).path

    def request(
        self, path: str, body: Any = None, *, whole: bool = False, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            given = {"content-type": "application/json", **given}
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        connection.request(method, path if whole else self.path + path, body, given)
        response = connection.getresponse()
        answer = response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}
        connection.close()
        return answer

    def json(self, path: str, body: Any = None) -> dict[str, Any]:
        status, content, _ = self.request(path, body)
        assert status == 200, content
        return json.loads(content)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    make_study(folder)
    return folder


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> Study:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    return Study.create("s", f"sqlite:///{tmp_path}/studies.db")


@pytest.fixture
def client(study: Study) -> Iterator[Client]:
    with serving(study) as server:
        yield Client(server.url)


def test_votes_are_stored_at_once_and_give_an_answer(client: Client, study: Study) -> None:
    assert client.json("rater") == {"rater": "Ada"}
    assert client.json("answer")["people"] is None
    for number in range(3):
        shown = client.json("next?rater=Ada")
        assert shown.keys() == {"ballot", "prompt", "own", "total"}  # blind: no λ
        assert shown["own"] == number
        assert shown["prompt"] in PROMPTS
        level = {}
        for side in ("left", "right"):
            status, content, headers = client.request(f"image/{shown['ballot']}/{side}")
            assert (status, headers["content-type"]) == (200, "image/png")
            level[side] = Image.open(BytesIO(content)).convert("RGB").getpixel((0, 0))[0]
        more = max(level, key=lambda side: level[side])
        client.json("vote", {"ballot": shown["ballot"], "choice": more, "rater": "Ada"})
        vote = Study.open("s", study.storage).votes()[-1]
        assert vote.preferred == max(vote.pair)
        assert {side: round(255 * getattr(vote, side)) for side in level} == level
        assert (vote.rater, PROMPTS[vote.image_id]) == ("Ada", shown["prompt"])
    people = summarize(study).people
    assert people is not None
    assert people.lam > 0.5
    assert people.effective_beta == pytest.approx(500 / people.lam)
    assert (people.votes, people.ties, people.raters) == (3, 0, 1)
    assert f"{people.lam:.3f}" in client.json("answer")["people"]


def test_a_vote_that_is_sent_twice_counts_once(client: Client, study: Study) -> None:
    first, second = client.json("next?rater=Ada"), client.json("next?rater=Bob")
    for _ in range(2):
        client.json("vote", {"ballot": first["ballot"], "choice": "tie", "rater": "Ada"})
    client.json("vote", {"ballot": second["ballot"], "choice": "left", "rater": "Bob"})
    assert sorted((v.rater, v.choice) for v in study.votes()) == [("Ada", "tie"), ("Bob", "left")]
    shown = client.json("next?rater=Bob")
    assert (shown["own"], shown["total"]) == (1, 2)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"choice": "left", "rater": "Ada"}, 409, "no longer open"),
        ({"ballot": "x", "choice": "left", "rater": "Ada"}, 409, "no longer open"),
        ({"ballot": "x", "choice": "both", "rater": "Ada"}, 400, "'both' given, expected left"),
        ({"ballot": "x", "choice": ["left"], "rater": "Ada"}, 400, "expected left"),
        ({"ballot": "x", "choice": "left", "rater": " "}, 400, "1 to 80 printable"),
        ({"ballot": "x", "choice": "left", "rater": "a\nb"}, 400, "1 to 80 printable"),
        ({"ballot": "x", "choice": "left", "rater": "a" * 81}, 400, "1 to 80 printable"),
        ([], 400, "expected a JSON object"),
        (b"{", 400, "Expecting"),
        (b'"' + b"a" * 5000 + b'"', 400, "more than 4096 bytes"),
    ],
)
def test_a_wrong_vote_is_refused_in_one_line(
    client: Client, study: Study, body: Any, status: int, message: str
) -> None:
    given, content, _ = client.request("vote", body)
    assert given == status
    assert message in json.loads(content)["error"]
    assert study.votes() == []


def test_nothing_is_served_without_the_token(client: Client) -> None:
    token = client.path
    for path in ("/", "/next?rater=a", "/vote.js", "/x" + token[1:], token[:-2] + "/", "//"):
        for body in (None, {}):
            status, content, headers = client.request(path, body, whole=True)
            assert status == 403, path
            assert b"token" in content
            assert token.strip("/").encode() not in content
            assert SECURITY_HEADERS.items() <= headers.items()


def test_other_hosts_and_origins_are_refused(client: Client, study: Study) -> None:
    port = client.host.rpartition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""):
        assert client.request("", host=host)[0] == 421, host
    assert client.request("", host=f"localhost:{port}")[0] == 200
    ballot = client.json("next?rater=Ada")["ballot"]
    vote = {"ballot": ballot, "choice": "left", "rater": "Ada"}
    refused = [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": f"https://{client.host}"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"},
    ]
    for headers in refused:
        assert client.request("vote", vote, **headers)[0] == 403, headers
        assert client.request("answer", **headers)[0] == 403, headers
    # A form needs no leave of the browser, but cannot send JSON as such.
    assert client.request("vote", vote, content_type="text/plain")[0] == 400
    assert study.votes() == []
    own = {"origin": f"http://{client.host}", "sec_fetch_site": "same-origin"}
    assert client.request("vote", vote, **own)[0] == 200
    opened = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert client.request("", **opened)[0] == 200  # a link in a notebook's terminal


def test_every_answer_has_the_security_headers(client: Client) -> None:
    for path, status in (("", 200), ("vote.js", 200), ("nothing", 404), ("image/x/left", 409)):
        given, _, headers = client.request(path)
        assert given == status
        assert SECURITY_HEADERS.items() <= headers.items()
        assert "server" not in headers
    policy = SECURITY_HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self';")


def test_paths_lead_to_no_other_file(client: Client) -> None:
    ballot = client.json("next?rater=Ada")["ballot"]
    for path in ("../app.py", "%2e%2e/app.py", "page/vote.js", f"image/{ballot}/..%2f..%2fs.db"):
        assert client.request(path)[0] in (403, 404), path


def test_the_page_ends_the_server(study: Study) -> None:
    with serving(study) as server:
        assert Client(server.url).json("done", {}) == {"done": True}


def test_it_listens_on_this_machine_only(study: Study) -> None:
    server = VotingServer(study, VoteConfig())
    with server._socket as bound:
        assert bound.getsockname()[0] == "127.0.0.1"
        port = bound.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} cannot be used .*--port"):
            VotingServer(study, VoteConfig(port=port))


def test_a_study_without_prompts_shows_none(tmp_path: Path) -> None:
    with serving(make_study(tmp_path, prompts=False)) as server:
        assert Client(server.url).json("next?rater=Ada")["prompt"] is None


def test_a_study_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no image at two λs"):
        VotingServer(make_study(tmp_path, keep=False), VoteConfig())
