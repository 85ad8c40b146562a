"""The paper's own models: their settings files, prompts, training and costs, as the docs say."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import tiny_pipelines
from deradiff import load_anchor
from examples.paper.align import REFERENCES, VAES, align, settings
from examples.paper.prompts import drawn
from examples.paper.prompts import main as write_prompts
from lamsearch.agreement.family import Family
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import Settings, load_settings
from lamsearch.errors import SettingsError

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "examples" / "paper"
PAGE = ROOT / "docs" / "how-to" / "reproduce-paper.md"
BETAS = [500, 1000, 2000, 5000, 8000, 10000]
MODELS = pytest.mark.parametrize("model", ["sdxl", "sd15"])


def loaded(model: str, folder: Path) -> Settings:
    """Read a settings file beside a file of prompts, as a user has them."""
    (folder / "prompts.txt").write_text("a lighthouse at dusk\n")
    return load_settings(Path(shutil.copy(PAPER / f"{model}.toml", folder / "lamsearch.toml")))


@MODELS
def test_the_settings_are_the_papers(tmp_path: Path, model: str) -> None:
    found = loaded(model, tmp_path)
    assert [anchor.beta for anchor in found.anchors.values()] == BETAS
    assert list(found.rewards) == ["pickscore", "hps", "clip"]
    assert found.reward("pickscore").model == "yuvalkirstain/PickScore_v1"
    assert found.reward("hps").options["checkpoint"] == "HPS_v2_compressed.pt"
    for name, anchor in found.anchors.items():
        assert anchor.reference == REFERENCES[model]
        assert anchor.aligned == f"{model}-anchors/{name}"
        assert anchor.sampling.scheduler == "EulerAncestralDiscreteScheduler"
        assert anchor.sampling.steps == 50
        assert anchor.sampling.guidance_scale == {"sdxl": 5.0, "sd15": 7.5}[model]
        assert anchor.sampling.vae == VAES.get(model)


@MODELS
def test_trained_anchors_are_found_beside_the_file(tmp_path: Path, model: str) -> None:
    (tmp_path / f"{model}-anchors" / "beta500").mkdir(parents=True)
    (tmp_path / "prompts.txt").write_text("a lighthouse at dusk\n")
    path = Path(shutil.copy(PAPER / f"{model}.toml", tmp_path / "lamsearch.toml"))
    with pytest.raises(SettingsError, match="beta1000"):
        load_settings(path)  # one trained anchor makes the others plainly missing folders
    for beta in BETAS:
        (tmp_path / f"{model}-anchors" / f"beta{beta}").mkdir(exist_ok=True)
    anchor = load_settings(path).anchor("beta500")
    assert anchor.aligned == str((tmp_path / f"{model}-anchors" / "beta500").resolve())


@MODELS
def test_without_prompts_the_file_is_refused(tmp_path: Path, model: str) -> None:
    path = Path(shutil.copy(PAPER / f"{model}.toml", tmp_path))
    with pytest.raises(SettingsError, match=r"prompts\.txt"):
        load_settings(path)


def test_the_costs_on_the_page_are_the_arithmetic(tmp_path: Path) -> None:
    found = loaded("sdxl", tmp_path)
    family = Family.from_settings(found, list(found.anchors))
    one_model = 50 * 2  # steps, and guidance's two halves
    lams = [lam for anchor in family.anchors for lam in family.lams(anchor)]
    models = sum(1 if lam in (0, 1) else 2 for lam in lams)
    chosen = settings("sdxl", 500)
    pairs = chosen.steps * chosen.batch_size * chosen.accumulation
    text = PAGE.read_text(encoding="utf-8")
    for number in (
        one_model,
        2 * one_model,
        len(lams) * 500,
        models * one_model * 500,
        (2 * 1 + 10 * 2) * one_model * 64,
        pairs,
        4 * pairs,
        2 * pairs,
    ):
        assert f"{number:,}" in text, f"{number:,}"
    small = settings("sd15", 500)
    assert f"{4 * small.steps * small.batch_size * small.accumulation:,}" in text
    assert f"{6 * 336:,}" in text


def pickapic(folder: Path, rows: int = 4) -> Path:
    """Write parquet files with the columns of Pick-a-Pic."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def encoded(colour: tuple[int, int, int]) -> bytes:
        buffer = BytesIO()
        Image.new("RGB", (20, 24), colour).save(buffer, "PNG")
        return buffer.getvalue()

    columns = {
        "caption": [f"a red\nthree {k % 3}" for k in range(rows)],
        "jpg_0": [encoded((200, k, 0)) for k in range(rows)],
        "jpg_1": [encoded((0, k, 200)) for k in range(rows)],
        "label_0": [1.0] * rows,
    }
    folder.mkdir()
    parquet.write_table(pyarrow.table(columns), folder / "part.parquet")
    return folder


def test_prompts_are_drawn_once_each_from_both_sources(tmp_path: Path) -> None:
    hps = tmp_path / "anime.json"
    hps.write_text('["a blue seven", "a red three 1"]')
    pairs, output = pickapic(tmp_path / "pickapic"), tmp_path / "prompts.txt"
    arguments = ["--pairs", str(pairs), "--hps", str(hps), "-o", str(output), "--count"]
    drawn = read_prompts(write_prompts([*arguments, "4"]))
    assert sorted(drawn) == ["a blue seven", "a red three 0", "a red three 1", "a red three 2"]
    assert read_prompts(write_prompts([*arguments, "2"])) == drawn[:2]


def test_absent_captions_are_none_and_too_few_prompts_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(drawn(["b", None, " a  c ", ""], count=2, seed=0)) == ["a c", "b"]
    pairs = pickapic(tmp_path / "pickapic")
    with pytest.raises(SystemExit, match="2"):
        write_prompts(["--pairs", str(pairs), "-o", str(tmp_path / "x"), "--count", "50"])
    assert "different prompts found, expected 50" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_the_papers_training_makes_an_anchor(tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    tiny_pipelines.sd15().save_pretrained(reference)
    chosen = settings("sd15", 500, steps=1, accumulation=2, learning_rate=1e-4)
    assert (chosen.warmup, chosen.mixed_precision, chosen.gradient_checkpointing) == (
        *(500, "bf16", True),
    )
    anchor = align(
        str(reference),
        chosen,
        pairs=pickapic(tmp_path / "pickapic"),
        resolution=16,
        vae=None,
        output=tmp_path / "sd15-anchors" / "beta500",
    )
    assert load_anchor(reference, anchor, beta=500).beta == 500
