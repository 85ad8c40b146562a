"""A small study with kept images, as a search leaves it, and its voting server in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.gallery import SIZE, Gallery
from lamsearch.study.manifest import KEPT_FACT
from lamsearch.voting.config import VoteConfig
from lamsearch.voting.server import VotingServer
from studies import begin

HOSTILE = '<img src=x onerror="document.title=`hacked`"><script>document.title="hacked"</script>'
PROMPTS = [HOSTILE, "a red seven", "a blue one"]
LAMS = 4


def make_study(folder: Path, *, keep: bool = True, prompts: bool = True) -> Study:
    """Search 4 λs of 4 images; the images get more yellow with λ."""
    url = f"sqlite:///{folder}/studies.db"
    study, gallery = Study.create("s", url), Gallery("s", url)
    study.bind({"seed": 0, "bounds": [0.0, 1.0], "beta": 500.0, "reward": "pickscore"})
    if prompts:
        study.remember(KEPT_FACT, PROMPTS)
    for _ in range(LAMS):
        evaluation = begin(study, LAMS)
        assert evaluation is not None
        level = round(255 * evaluation.lam)
        images = [Image.new("RGB", (64, 64), (level, level, 60 * i)) for i in range(4)]
        if keep:
            gallery.keep(evaluation.lam, range(4), images)
        scores = [0.1 * i - (evaluation.lam - 0.6) ** 2 for i in range(4)]
        study.record(evaluation, Batch(range(4), scores, 0.5, {}, 4))
        study.finish(evaluation)
    assert SIZE < 4
    return study


@contextmanager
def serving(study: Study) -> Iterator[VotingServer]:
    """Serve a study's page on a free port of this machine."""
    server, started = VotingServer(study, VoteConfig(rater="Ada")), threading.Event()
    thread = threading.Thread(target=server.serve, args=(lambda _: started.set(),))
    thread.start()
    assert started.wait(30)
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)
    assert not thread.is_alive()
