"""One study over several processes: the scores of a serial run, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lamsearch
from lamsearch.errors import EvaluationError, LamsearchError, SettingsError
from lamsearch.evaluation import ray_pool, shards
from lamsearch.evaluation.actor_state import ActorState
from lamsearch.evaluation.loading import Models
from lamsearch.evaluation.ray_actors import Failed, ImageActor, Loaded
from lamsearch.study.database import Study
from lamsearch.study.records import Evaluation

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'lamsearch[ray]'")

from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.slow]

IMAGES, BATCH = 10, 3
REWARDS = '''
"""Rewards that misbehave in a process of their own."""
import os, signal
from pathlib import Path
import numpy as np

class Reward:
    def __init__(self, folder=""):
        self.folder = Path(folder)

    def score(self, images, prompts):
        self.misbehave(images)
        return np.array([np.asarray(image).mean() for image in images], dtype=np.float32)

    def misbehave(self, images):
        pass

class Deadly(Reward):
    """Kills its process, always."""
    def misbehave(self, images):
        os.kill(os.getpid(), signal.SIGKILL)

class Loud(Reward):
    """Prints, also past Python."""
    def misbehave(self, images):
        print("loud")
        os.write(1, b"louder")
'''


class Watch:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.states: list[ActorState] = []
        self.processes: dict[int, int] = {}
        self.batches: list[int] = []

    @property
    def news(self) -> list[str]:
        return [state.news for state in self.states if state.news]

    def started(self, evaluation: Evaluation, done: int) -> None: ...

    def scored(self, evaluation: Evaluation, images: int) -> None:
        self.batches.append(images)

    def mixing(self, way: str) -> None: ...

    def finished(self, evaluation: Evaluation) -> None: ...

    def confirming(self, lams: int, images: int) -> None: ...

    def actor(self, state: ActorState) -> None:
        self.states.append(state)
        found = re.search(r"process (\d+)", state.news or "")
        if found:
            self.processes[state.number] = int(found[1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One local Ray for the tests of this module: starting it takes seconds."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def settings(world: Path, tmp_path: Path) -> Path:
    """The tiny world, with rewards that misbehave beside it."""
    text = (world / "lamsearch.toml").read_text()
    for name in ("reference", "b500", "reward", "clip", "prompts.txt", "heldout.txt"):
        text = text.replace(f'"{name}"', f'"{world / name}"')
    for name in ("Deadly", "Loud"):
        text += f'[rewards.{name.lower()}]\nclass = "misbehaved:{name}"\n'
    (tmp_path / "misbehaved.py").write_text(REWARDS)
    (tmp_path / "lamsearch.toml").write_text(text)
    return tmp_path / "lamsearch.toml"


def run(settings: Path, study: str, **keywords: Any) -> lamsearch.Summary:
    given = {
        "anchor": "b500",
        "reward": "pickscore",
        "budget": 3,
        "images": IMAGES,
        "batch_size": BATCH,
        "config": settings,
        "study": study,
        "storage": storage(settings),
        "device": "cpu",
        "allow_code": True,
        **keywords,
    }
    return lamsearch.run(**given)


def storage(settings: Path) -> str:
    return f"sqlite:///{settings.parent / 'studies.db'}"


def stored(settings: Path, study: str) -> list[tuple[float, dict[int, float], Any]]:
    history = Study.open(study, storage(settings)).history()
    return [(each.lam, dict(each.scores), each.tracked) for each in history.evaluations]


def pictures(settings: Path, study: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (settings.parent / study).glob("*.png")}


@pytest.mark.usefixtures("cluster")
def test_two_actors_give_the_study_of_a_serial_run(settings: Path) -> None:
    options = {"also": ["clip"], "confirm": 4}
    serial, sharded = Watch(), Watch()
    one = run(settings, "serial", progress=serial, **options)
    two = run(settings, "sharded", progress=sharded, ray="local", actors=2, **options)
    assert stored(settings, "serial") == stored(settings, "sharded")
    assert pictures(settings, "serial") == pictures(settings, "sharded") != {}
    assert sharded.batches == serial.batches
    one_manifest, two_manifest = (
        Study.open(name, storage(settings)).manifest for name in ("serial", "sharded")
    )
    assert one_manifest == two_manifest
    assert (one.confirmation and two.confirmation) is not None
    held_out = f"confirm-{one.lam:.6f}"
    assert one.lam == two.lam
    assert stored(settings, f"serial/{held_out}") == stored(settings, f"sharded/{held_out}")
    worked = {state.number: state.images for state in sharded.states}
    assert sum(worked.values()) == sum(serial.batches)
    assert min(worked.values()) > 0


class Killer(Watch):
    """Kills the first actor that is given images of the second evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[int] = []

    def actor(self, state: ActorState) -> None:
        super().actor(state)
        if state.activity.startswith("λ = 1.000") and not self.killed:
            self.killed.append(self.processes[state.number])
            os.kill(self.killed[0], signal.SIGKILL)


@pytest.mark.usefixtures("cluster")
def test_a_killed_actor_costs_nothing_but_time(settings: Path) -> None:
    watch = Killer()
    run(settings, "serial")
    run(settings, "killed", ray="local", actors=2, progress=watch)
    assert stored(settings, "serial") == stored(settings, "killed")
    assert any(each.startswith("died, and is started again") for each in watch.news)


@pytest.mark.usefixtures("cluster")
def test_a_lone_actor_comes_back(settings: Path) -> None:
    watch = Killer()
    run(settings, "serial")
    run(settings, "killed", ray="local", actors=1, progress=watch)
    assert stored(settings, "serial") == stored(settings, "killed")
    assert sum("ready" in each for each in watch.news) == 2
    assert watch.processes[1] != watch.killed[0]


@pytest.mark.usefixtures("cluster")
def test_an_actor_that_comes_back_with_other_weights_is_left_out(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = settings.with_name("began")

    class Changed(ImageActor):
        """Finds other weights when it starts again."""

        def load(self) -> Loaded | Failed:
            loaded = super().load()
            if isinstance(loaded, Loaded) and mark.exists():
                return dataclasses.replace(loaded, manifest={**loaded.manifest, "aligned": "x"})
            mark.touch()
            return loaded

    monkeypatch.setattr(ray_pool, "ImageActor", Changed)
    with pytest.raises(EvaluationError, match=r"all 1 actors are lost: .* has another aligned"):
        run(settings, "changed", ray="local", actors=1, progress=Killer())


@pytest.mark.usefixtures("cluster")
def test_memory_that_runs_out_halves_the_shards(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(ImageActor):
        """Memory for two images, under guidance four."""

        def _load(self) -> Models:
            def check(module: Any, args: Any) -> None:
                if len(args[0]) > 4:
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

            import torch

            models = super()._load()
            models.anchor.pipe.unet.conv_in.register_forward_pre_hook(check)
            return models

    watch = Watch()
    run(settings, "two", batch_size=2)
    monkeypatch.setattr(ray_pool, "ImageActor", Small)
    run(settings, "halved", batch_size=4, ray="local", actors=1, progress=watch)
    assert stored(settings, "two") == stored(settings, "halved")
    assert set(watch.batches) == {2}
    assert not any("died" in each for each in watch.news)


@pytest.mark.usefixtures("cluster")
def test_what_kills_every_actor_is_not_tried_for_ever(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "RETRIES", 1)
    with pytest.raises(EvaluationError, match=r"images \d+ to \d+ failed 2 times|actors are lost"):
        run(settings, "deadly", reward="deadly", ray="local", actors=1)


@pytest.mark.usefixtures("cluster")
def test_errors_of_this_package_come_through_as_they_are(settings: Path) -> None:
    broken = settings.with_name("broken.toml")
    broken.write_text(settings.read_text().replace('model = "', 'model = "/absent'))
    with pytest.raises(LamsearchError) as serial:
        run(broken, "serial")
    with pytest.raises(LamsearchError) as sharded:
        run(broken, "sharded", ray="local", actors=1)
    assert type(serial.value) is type(sharded.value)
    assert str(serial.value) == str(sharded.value)


def test_wrong_usage_is_said_before_anything_is_created(settings: Path) -> None:
    with pytest.raises(SettingsError, match="actors 2 given without --ray"):
        run(settings, "s", actors=2)
    with pytest.raises(SettingsError, match="device cuda:1 given with --ray"):
        run(settings, "s", ray="local", device="cuda:1")
    with pytest.raises(SettingsError, match="actors 0 given"):
        run(settings, "s", ray="local", actors=0)
    assert not (settings.parent / "studies.db").exists()


@pytest.mark.long
def test_a_lost_node_is_survived(settings: Path) -> None:
    """Two nodes of a real cluster, of which one goes away with its actor in the middle."""
    ray.shutdown()  # the one of the tests above
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    class Gone(Watch):
        """Takes the second node away once both actors are ready."""

        gone = False

        def actor(self, state: ActorState) -> None:
            super().actor(state)
            if len(self.processes) == 2 and state.activity.startswith("λ") and not self.gone:
                self.gone = True
                cluster.remove_node(node, allow_graceful=False)

    watch = Gone()
    try:
        run(settings, "serial", budget=4)
        run(settings, "lost", budget=4, ray=cluster.address, actors=2, progress=watch)
    finally:
        cluster.shutdown()
    assert watch.gone
    assert stored(settings, "serial") == stored(settings, "lost")


COMMAND = "import sys; from lamsearch.cli import main; sys.exit(main(sys.argv[1:]))"


def start(settings: Path, *options: str, mark: str = "") -> subprocess.Popen[str]:
    arguments = ["run", "--anchor", "b500", "--images", "12", "--batch-size", "2"]
    arguments += ["--config", str(settings), "--storage", storage(settings), "--device", "cpu"]
    arguments += ["--ray", "local", "--allow-code", *options]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LAMSEARCH_TEST_MARK": mark},
    )


def marked(mark: str) -> list[int]:
    """Return the processes whose environment has a mark: all that Ray has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # it has ended, or is somebody else's
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    "signal_", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_signal_leaves_no_process_behind(settings: Path, signal_: signal.Signals) -> None:
    mark = uuid.uuid4().hex
    process = start(settings, "--reward", "pickscore", "--budget", "50", "--actors", "2", mark=mark)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("λ = 0.000"):  # an evaluation is finished, the next one has begun
            break
    assert len(marked(mark)) > 3  # this process, two actors, Ray's own
    process.send_signal(signal_)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 128 + signal_
    assert messages.splitlines()[-1].startswith("stopped; resume with: lamsearch run")
    assert "Traceback" not in messages
    for _ in range(300):
        if not marked(mark):
            break
        time.sleep(0.1)
    assert marked(mark) == []


def test_standard_output_is_one_object_whatever_is_printed(settings: Path) -> None:
    import json

    process = start(settings, "--reward", "loud", "--budget", "2", "--actors", "1", "--json")
    output, messages = process.communicate(timeout=120)
    assert process.returncode == 0, messages
    assert json.loads(output)["evaluations"]
    assert output.count("\n") == 1
    assert "ray" not in messages.lower().replace("--ray", "")


def test_a_cluster_that_is_not_there_is_one_line(settings: Path) -> None:
    arguments = ["run", "--anchor", "b500", "--reward", "clip", "--budget", "2"]
    arguments += ["--config", str(settings), "--ray", "127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: no Ray cluster at 127.0.0.1:1")
    assert done.stdout == ""
