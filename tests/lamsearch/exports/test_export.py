"""`lamsearch export`: a folder that gives the study's own images, or says how far it is off."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from PIL import Image

import warm_processes
from deradiff.exports.merged import merged_components
from lamsearch import cli
from lamsearch.evaluation.loading import load_anchor
from lamsearch.report.exported import recalled_export
from lamsearch.report.summarize import summarize
from lamsearch.study.database import Study

from .conftest import IMAGES, TinyStudy, run

pytestmark = pytest.mark.slow

LOAD = """
import json, sys, torch, deradiff
folder, output, plan = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
pipe = deradiff.load(folder)
images = pipe(
    [prompt for prompt, _ in plan],
    generator=[torch.Generator().manual_seed(seed) for _, seed in plan],
).images
for number, image in enumerate(images):
    image.save(f"{output}/{number}.png")
"""


def images_of_a_fresh_process(folder: Path, output: Path, study: TinyStudy) -> list[np.ndarray]:
    output.mkdir()
    plan = json.dumps([(image.prompt, image.seed) for image in study.plan])
    status, printed = warm_processes.run(LOAD, folder, output, plan)
    assert status == 0, printed
    return [np.asarray(Image.open(output / f"{number}.png")) for number in range(IMAGES)]


def export(study: TinyStudy, folder: Path, *more: str) -> int:
    given = study.arguments("export", study.name, str(folder), *more)
    return cli.main([*given, "--images", "4"])


def evaluated_lam(study: TinyStudy) -> float:
    """An evaluated λ at which both models count."""
    lams = [each.lam for each in study.summary.evaluations]
    return next(lam for lam in lams if 0 < lam < 1)


def require_the_studys_images(study: TinyStudy, tmp_path: Path) -> None:
    lam = evaluated_lam(study)
    assert export(study, tmp_path / "out", "--as", "realigned", "--lam", repr(lam)) == 0
    found = images_of_a_fresh_process(tmp_path / "out", tmp_path / "images", study)
    kept = study.kept(lam)
    assert len(kept) == 3
    for image, file in zip(found, kept, strict=False):
        assert np.array_equal(image, np.asarray(Image.open(file)))


def test_realigned_gives_the_studys_own_images_in_a_fresh_process(
    any_study: TinyStudy, tmp_path: Path
) -> None:
    require_the_studys_images(any_study, tmp_path)


def test_realigned_gives_the_images_of_the_bundled_world(tmp_path: Path) -> None:
    config = Path(str(files("lamsearch") / "miniature" / "lamsearch.toml"))
    require_the_studys_images(run(tmp_path, config, "beta500"), tmp_path)


def test_merged_is_a_stock_pipeline_that_was_measured(
    any_study: TinyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--as", "merged", "--lam", "0.5", "--json")
    assert export(any_study, tmp_path / "out", *more) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert (answer["as"], answer["lam"]) == ("merged", 0.5)
    measured = answer["measurement"]
    assert measured["images"] == IMAGES
    low, high = measured["interval"]
    assert low <= measured["difference"] <= high
    assert measured["difference"] == pytest.approx(measured["exported"] - measured["exact"])
    assert measured["image_distance"] > 0
    assert f"{measured['difference']:+.5f} against the exact mixture" in printed.err
    kept = recalled_export(Study.open(any_study.name, any_study.storage), 0.5)
    assert kept is not None
    assert (kept.form, kept.difference, kept.images) == ("merged", measured["difference"], IMAGES)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "out")
    anchor = load_anchor(any_study.settings.anchor("b500"), "cpu")
    expected = merged_components(anchor, answer["lam"])["unet"].state_dict()
    for name, weight in pipe.unet.state_dict().items():
        assert torch.equal(weight, expected[name])


def test_a_merged_denoiser_alone_and_its_measured_images(
    study: TinyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At λ = 1 the merged weights and the mixture are the aligned model: nothing differs."""
    more = ("--as", "merged", "--part", "denoiser", "--lam", "1", "--json")
    assert export(study, tmp_path / "out", *more) == 0
    measured = json.loads(capsys.readouterr().out)["measurement"]
    assert (measured["difference"], measured["image_distance"]) == (0.0, 0.0)
    assert measured["verdict"] == "equal"
    assert measured["reference_distance"] > 0
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {"config.json", "diffusion_pytorch_model.safetensors", "README.md"}


def test_lora_is_read_by_diffusers(
    any_study: TinyStudy, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(any_study, tmp_path / "out", "--as", "lora", "--rank", "3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    is_own = answer["lora"]["is_own"]
    assert answer["lora"]["rank"] == 3
    assert answer["lora"]["share"] == 1 if is_own else 0 < answer["lora"]["share"] < 1
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {"pytorch_lora_weights.safetensors", "kohya.safetensors", "README.md"}
    pipe = StableDiffusionPipeline.from_pretrained(world / "reference")
    pipe.load_lora_weights(tmp_path / "out", weight_name="pytorch_lora_weights.safetensors")
    adapted = [n for n, m in pipe.unet.named_modules() if hasattr(m, "lora_A")]
    assert len(adapted) > 4


@pytest.mark.parametrize("form", ["realigned", "merged", "lora"])
def test_the_card_is_valid_and_names_no_path(form: str, study: TinyStudy, tmp_path: Path) -> None:
    assert export(study, tmp_path / "out", "--as", form) == 0
    text = (tmp_path / "out" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert (matter["license"], matter["library_name"]) == ("unknown", "diffusers")
    assert "base_model" not in matter  # the reference is a folder here
    assert f"| λ* | {study.summary.lam:.6g}, 95 % interval" in body
    assert "| KL strength β/λ* |" in body
    assert ("exact mixture" in body) == (form != "realigned") or "exact mixture p[β/λ]" in body
    assert ("## Against the exact mixture" in body) == (form != "realigned")
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"/tmp/" not in content, file
            assert str(tmp_path).encode() not in content, file


def test_the_cards_code_loads_the_export(study: TinyStudy, world: Path, tmp_path: Path) -> None:
    """What the card says is executed, with the folder's and the reference's place filled in."""
    for form, part in (
        ("realigned", "pipeline"),
        ("merged", "pipeline"),
        ("merged", "denoiser"),
        ("lora", "pipeline"),
    ):
        out = tmp_path / f"{form}-{part}"
        assert export(study, out, "--as", form, "--part", part) == 0
        (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
        code = code.replace("FOLDER", out.as_posix())
        code = code.replace("'reference'", repr((world / "reference").as_posix()))
        names: dict[str, Any] = {}
        exec(code, names)
        generator = torch.Generator().manual_seed(0)
        given = {} if form == "realigned" else {"num_inference_steps": 2}
        assert names["pipe"]("a red three", generator=generator, **given).images[0].size == (16, 16)


def test_bad_input_is_one_line(
    study: TinyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file = tmp_path / "file"
    file.write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    good, lora = str(tmp_path / "new"), ("--as", "lora")
    for name, folder, more, status, said in (
        (study.name, str(full), lora, 2, "exists and is not empty: name a new folder"),
        (study.name, str(file), lora, 2, "exists and is no folder"),
        (study.name, str(tmp_path / "link"), lora, 2, "exists and is no folder"),
        (study.name, str(file / "x"), lora, 2, "cannot write"),
        ("absent", good, lora, 1, "no study 'absent'"),
        (study.name, good, (*lora, "--rank", "0"), 2, "rank 0 given, expected at least 1"),
        (study.name, good, (*lora, "--lam", "nan"), 2, "lam nan given, expected a finite number"),
        (study.name, good, (*lora, "--epsilon", "-1"), 2, "epsilon -1 given"),
        (study.name, good, (*lora, "--device", "cuda:77"), 2, "device cuda:77 given"),
        (
            study.name,
            good,
            (*lora, "--prompts", str(full / "mine.txt")),
            1,
            "other settings (plan)",
        ),
    ):
        given = study.arguments("export", name, folder, *more)
        assert cli.main(given) == status, said
        error = capsys.readouterr().err
        assert said in error
        assert len([line for line in error.splitlines() if line.startswith("error:")]) == 1
        assert "Traceback" not in error
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "full", "link"]
    assert (full / "mine.txt").read_text() == "mine"


def changed_settings(world: Path, folder: Path, steps: str) -> Path:
    """The world's settings with other steps, in another folder."""
    text = (world / "lamsearch.toml").read_text()
    for name in ("reference", "b500", "reward", "clip", "prompts.txt", "heldout.txt"):
        text = text.replace(f'= "{name}"', f'= "{world}/{name}"')
    file = folder / "lamsearch.toml"
    file.write_text(text.replace("steps = 3", steps))
    return file


def test_another_model_under_the_same_name_is_refused(
    study: TinyStudy, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (world / "lamsearch.toml").read_text()
    text = re.sub(
        r'= "(reference|b500|reward|clip|prompts.txt|heldout.txt)"', rf'= "{world}/\1"', text
    )
    other = tmp_path / "lamsearch.toml"
    other.write_text(re.sub(r"steps = \d+", "steps = 5", text))
    given = ["export", study.name, str(tmp_path / "out"), "--storage", study.storage]
    assert cli.main([*given, "--as", "realigned", "--config", str(other)]) == 1
    assert "was run with other settings (steps)" in capsys.readouterr().err


def test_another_strength_of_the_lora_is_another_model(
    lora_study: TinyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The strength is in no weight, only in the settings: one that was taken out is missed too."""
    other = tmp_path / "lamsearch.toml"
    other.write_text(lora_study.config.read_text().replace("strength = 0.9", ""))
    given = ["export", lora_study.name, str(tmp_path / "out"), "--storage", lora_study.storage]
    assert cli.main([*given, "--as", "realigned", "--config", str(other)]) == 1
    assert "was run with other settings (strength)" in capsys.readouterr().err


def test_steps_without_the_aligned_model_are_no_single_set_of_weights(
    study: TinyStudy, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (world / "lamsearch.toml").read_text()
    text = re.sub(
        r'= "(reference|b500|reward|clip|prompts.txt|heldout.txt)"', rf'= "{world}/\1"', text
    )
    other = tmp_path / "lamsearch.toml"
    other.write_text(re.sub(r"(steps = \d+)", r"\1\naligned_steps = 1", text))
    given = ["export", study.name, str(tmp_path / "out"), "--storage", study.storage]
    assert cli.main([*given, "--as", "merged", "--config", str(other)]) == 2
    assert (
        "has aligned_steps = 1, which one set of weights cannot follow" in capsys.readouterr().err
    )


def test_rewards_of_ones_own_run_only_where_they_may(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that changes the working directory changes neither the folder nor the study."""
    text = (world / "lamsearch.toml").read_text()
    for name in ("reference", "b500", "reward", "clip", "prompts.txt", "heldout.txt"):
        text = text.replace(f'"{name}"', f'"{world / name}"')
    (tmp_path / "lamsearch.toml").write_text(f'{text}\n[rewards.own]\nclass = "moving:Reward"\n')
    (tmp_path / "moving.py").write_text(MOVING)
    (tmp_path / "place").mkdir()
    given = ["--config", str(tmp_path / "lamsearch.toml"), "--storage", "sqlite:///own.db"]
    size = ["--budget", "3", "--images", "4", "--study", "own"]
    code = (
        "import os, sys; from lamsearch import cli; os.chdir(sys.argv[1]); "
        "sys.exit(cli.main(sys.argv[2:]))"
    )
    place = str(tmp_path / "place")
    search = ["run", "--anchor", "b500", "--reward", "own", *size, *given, "--allow-code"]
    assert warm_processes.run(code, place, *search)[0] == 0
    export = ["export", "own", "merged", "--as", "merged", "--images", "4", *given]
    status, printed = warm_processes.run(code, place, *export)
    assert (status, "would run moving:Reward" in printed) == (2, True)
    status, printed = warm_processes.run(code, place, *export, "--allow-code")
    assert status == 0, printed
    assert (tmp_path / "place" / "merged" / "model_index.json").is_file()
    study = Study.open("own", f"sqlite:///{tmp_path}/place/own.db")
    assert recalled_export(study, summarize(study).lam) is not None
    assert not (tmp_path / "elsewhere").exists() or not list((tmp_path / "elsewhere").iterdir())


MOVING = """
import os
from pathlib import Path
import numpy as np

class Reward:
    def score(self, images, prompts):
        elsewhere = Path(__file__).parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        os.chdir(elsewhere)
        return np.array([np.asarray(image).mean() for image in images])
"""


def test_a_disk_that_refuses_leaves_nothing(study: TinyStudy, world: Path, tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does, in the middle of writing."""
    largest = max(file.stat().st_size for file in (world / "reference").rglob("*.safetensors"))
    database = sum(file.stat().st_size for file in Path(study.storage[10:]).parent.glob("*.db*"))
    limit = largest - 1
    assert limit > max(database, 100_000)  # the study itself must be readable
    code = (
        "import resource, signal, sys\n"
        "from lamsearch import cli\n"
        "import lamsearch.exports.export\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    out = tmp_path / "out"
    given = study.arguments("export", study.name, str(out), "--as", "realigned")
    status, printed = warm_processes.run(code, *given)
    assert status == 1
    (line,) = [line for line in printed.splitlines() if line.startswith("error:")]
    assert line.startswith(f"error: cannot write {out}: ")
    assert list(tmp_path.iterdir()) == []
