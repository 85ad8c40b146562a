"""`lamsearch doctor`: every check is data, none stops another, and nothing is created."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lamsearch import cli
from lamsearch.config.settings import load_settings
from lamsearch.doctor.check import Check, examined
from lamsearch.doctor.config import DoctorConfig
from lamsearch.doctor.diagnose import diagnose
from lamsearch.doctor.machine import device_memory, existing
from lamsearch.doctor.models import anchor_checks
from lamsearch.doctor.storage import storage_checks
from lamsearch.doctor.weights import anchor_bytes, file_numbers
from lamsearch.errors import StudyError
from lamsearch.evaluation.loading import load_anchor
from lamsearch.study.database import Study

CPU = DoctorConfig(device="cpu")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def broken(world: Path, tmp_path: Path) -> Path:
    """A copy of the tiny world for a test to break."""
    folder = tmp_path / "broken"
    shutil.copytree(world, folder)
    return folder


def doctor(world: Path, *more: str) -> int:
    config = str(world / "lamsearch.toml")
    return cli.main(["doctor", "--config", config, "--device", "cpu", *more])


def states(printed: str) -> dict[str, str]:
    return {check["name"]: check["state"] for check in json.loads(printed)["checks"]}


def test_a_sound_world_is_found_sound_and_nothing_is_created(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(world, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert {check["name"] for check in answer["checks"]} == {
        *("versions", "device", "hub cache", "disk", "storage", "settings"),
        *("anchor b500", "reward pickscore", "reward clip"),
    }
    assert answer["settings"]["anchors"]["b500"]["beta"] == 500
    assert answer["settings"]["anchors"]["b500"]["sampling"]["steps"] == 3
    assert answer["settings"]["prompts"]["file"] == str(world / "prompts.txt")
    assert list(here.iterdir()) == []


def test_the_screen_names_every_check_and_what_was_understood(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(world) == 0
    printed = capsys.readouterr().out
    for text in ("versions", "β = 500, 3 steps, guidance 3, float32", "4 prompts, 3 held out"):
        assert text in " ".join(printed.split())


def test_what_is_broken_is_named_and_the_rest_is_still_checked(
    broken: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken / "b500" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x10")
    (broken / "clip" / "model.safetensors").unlink()
    Path("bad.db").write_bytes(b"no database" * 100)
    assert doctor(broken, "--storage", "sqlite:///bad.db", "--json") == 1
    printed = capsys.readouterr()
    found = states(printed.out)
    wrong = {name for name, state in found.items() if state == "wrong"}
    assert wrong == {"anchor b500", "reward clip", "storage"}
    assert found["reward pickscore"] == "ok"
    assert printed.err.count("\n") == 1
    assert printed.err == "error: storage, anchor b500, reward clip: wrong, see above\n"


def test_an_aligned_model_without_effect_is_wrong(broken: Path) -> None:
    unet = Path("unet", "diffusion_pytorch_model.safetensors")
    shutil.copy(broken / "reference" / unet, broken / "b500" / unet)
    found = diagnose(broken / "lamsearch.toml", "sqlite://", CPU)
    assert found.wrong == ["anchor b500"]
    (check,) = (each for each in found.checks if each.name == "anchor b500")
    assert "changes nothing" in check.text


def test_settings_that_cannot_be_read_leave_the_machine_checked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lamsearch.toml").write_text("[anchors.a]\nreference = 3\n")
    assert doctor(here, "--json") == 1
    found = states(capsys.readouterr().out)
    assert found["settings"] == "wrong"
    assert found["versions"] == found["device"] == "ok"


def test_a_device_that_is_not_there_is_wrong(world: Path) -> None:
    found = diagnose(world / "lamsearch.toml", "sqlite://", DoctorConfig(device="cuda:77"))
    assert found.wrong == ["device"]


def test_quick_loads_nothing(broken: Path) -> None:
    weights = broken / "reward" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    quick = diagnose(broken / "lamsearch.toml", "sqlite://", DoctorConfig(device="cpu", quick=True))
    assert quick.wrong == []
    assert diagnose(broken / "lamsearch.toml", "sqlite://", CPU).wrong == ["reward pickscore"]


def test_code_of_the_settings_runs_only_where_it_is_allowed(broken: Path) -> None:
    (broken / "mine.py").write_text(
        "import numpy\nopen('ran', 'w').close()\n"
        "class Nan:\n    def score(self, images, prompts):\n"
        "        return numpy.full(len(images), numpy.nan, dtype='float32')\n"
    )
    file = broken / "lamsearch.toml"
    file.write_text(f'{file.read_text()}\n[rewards.own]\nclass = "mine:Nan"\n')
    assert diagnose(file, "sqlite://", CPU).wrong == ["reward own"]
    allowed = diagnose(file, "sqlite://", DoctorConfig(device="cpu", allow_code=True))
    (check,) = (each for each in allowed.checks if each.name == "reward own")
    assert check.state == "warning"
    assert "no score" in check.text
    Path("ran").unlink()


def test_a_model_that_is_on_the_hub_only_is_not_downloaded(broken: Path) -> None:
    file = broken / "lamsearch.toml"
    text = file.read_text().replace('reference = "reference"', 'reference = "nobody/nothing"')
    file.write_text(text.replace("[prompts]", "[rewards.hps]\n[prompts]"))
    found = {c.name: c for c in diagnose(file, "sqlite://", CPU).checks}
    for name, hub_id in (("anchor b500", "nobody/nothing"), ("reward hps", "xswu/HPSv2")):
        # Tests run with HF_HUB_OFFLINE=1: it could not be had at all.
        assert found[name].state == "wrong"
        assert f"{hub_id} not in the hub cache" in found[name].text


def test_bytes_from_headers_are_those_of_the_loaded_weights(world: Path) -> None:
    settings = load_settings(world / "lamsearch.toml").anchor("b500")
    anchor = load_anchor(settings, "cpu")
    modules = [c for c in anchor.pipe.components.values() if isinstance(c, torch.nn.Module)]
    assert isinstance(anchor.aligned, torch.nn.Module)
    loaded = sum(p.nbytes for m in (*modules, anchor.aligned) for p in m.parameters())
    assert anchor_bytes(settings) == loaded


def test_a_variant_and_an_optimizer_are_not_counted_twice(world: Path, tmp_path: Path) -> None:
    settings = load_settings(world / "lamsearch.toml").anchor("b500")
    folder = tmp_path / "b500" / "unet"
    shutil.copytree(Path(str(settings.aligned)), folder.parent)
    shutil.copy(
        folder / "diffusion_pytorch_model.safetensors",
        folder / "diffusion_pytorch_model.fp16.safetensors",
    )
    save_file({"a": torch.zeros(99)}, folder / "optimizer.safetensors")
    copied = settings.model_copy(update={"aligned": str(folder.parent)})
    assert anchor_bytes(copied) == anchor_bytes(settings)


def test_an_anchor_larger_than_the_memory_is_wrong_and_not_loaded(
    broken: Path,
) -> None:
    """Its header alone says so: the file holds no such tensor, and loading it would fail."""
    file = broken / "b500" / "unet" / "diffusion_pytorch_model.safetensors"
    (_, total), width = device_memory("cpu"), 1_000
    entry = {"dtype": "F32", "shape": [total // width, width], "data_offsets": [0, 4]}
    header = json.dumps({"huge": entry}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    assert file_numbers(file) == total // width * width
    settings = load_settings(broken / "lamsearch.toml").anchor("b500")
    (check,) = anchor_checks(settings, "cpu", CPU)
    assert check.state == "wrong"
    assert "of memory is free on cpu" in check.text


def test_storages(here: Path) -> None:
    (memory,) = storage_checks("sqlite://")
    assert memory.state == "warning"
    (absent,) = storage_checks("sqlite:///later/studies.db")
    assert absent.state == "ok"
    assert not Path("later").exists()
    Study.create("s", "sqlite:///studies.db")
    (sound,) = storage_checks("sqlite:///studies.db")
    assert (sound.state, "1 study" in sound.text) == ("ok", True)
    with pytest.raises(StudyError, match="expected a URL"):
        list(storage_checks("studies.db"))
    Path("file").touch()
    with pytest.raises(StudyError, match="is empty"):
        list(storage_checks("sqlite:///file"))


def test_a_password_is_not_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql://me:secret@127.0.0.1:1/studies"
    assert cli.main(["doctor", "--quick", "--device", "cpu", "--storage", url, "--json"]) == 1
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit("no"), StudyError("no")])
def test_whatever_a_check_raises_is_a_check_that_is_wrong(raised: BaseException) -> None:
    def look() -> list[Check]:
        raise raised

    (check,) = examined("thing", look)
    assert (check.name, check.state) == ("thing", "wrong")
    assert "no" in check.text


def test_ctrl_c_stops_the_checks() -> None:
    def look() -> list[Check]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(examined("thing", look))


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert existing(tmp_path) == tmp_path
