from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

import lamsearch
from lamsearch import cli
from lamsearch.report.study_page import study_page
from lamsearch.study.database import Study


def test_the_page_is_one_file_that_loads_nothing(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert len(text) < 5_000_000
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "url(" not in text
    assert "@import" not in text


def test_the_same_study_gives_the_same_page(page_file: Path, stored: tuple[str, str]) -> None:
    assert study_page(Study.open(*stored)) == page_file.read_text(encoding="utf-8")


def test_the_command_is_shown_as_a_shell_takes_it(page_file: Path) -> None:
    assert "lamsearch run --reward &#39;a b&#39;" in page_file.read_text(encoding="utf-8")


def test_report_writes_and_overwrites_a_file(
    stored: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, storage = stored
    output = tmp_path / "report.html"
    output.write_text("old")
    assert cli.main(["report", name, "--storage", storage, "-o", str(output)]) == 0
    assert "<!doctype html>" in output.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert f"wrote {output}" in capsys.readouterr().err


def test_the_page_has_the_sentences_of_the_advice(
    stored: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, storage = stored
    output = tmp_path / "report.html"
    study = [name, "--storage", storage, "--alignment-cost", "336 GPU-hours", "--price", "2.5"]
    assert cli.main(["report", *study, "-o", str(output)]) == 0
    assert cli.main(["advise", *study, "--json"]) == 0
    sentences = json.loads(capsys.readouterr().out)["sentences"]
    assert any("840.00" in sentence for sentence in sentences)
    page = html.unescape(output.read_text(encoding="utf-8")).replace("\u00a0", " ")
    for sentence in sentences:
        assert f"<li>{sentence}</li>" in page


@pytest.mark.parametrize("place", ["report.pdf", "folder.html", "absent/report.html"])
def test_a_wrong_output_is_one_line(
    place: str, stored: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    name, storage = stored
    output = str(tmp_path / place)
    assert cli.main(["report", name, "--storage", storage, "-o", output]) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert printed.startswith(f"error: cannot write {output}")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.html"]


def test_a_study_without_an_evaluation_has_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path}/studies.db"
    Study.create("empty", storage)
    output = str(tmp_path / "report.html")
    assert cli.main(["report", "empty", "--storage", storage, "-o", output]) == 1
    assert "no finished evaluation" in capsys.readouterr().err


@pytest.mark.slow
def test_run_keeps_images_prompts_and_the_command(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = str(world / "lamsearch.toml")
    words = ["run", "--anchor", "b500", "--reward", "pickscore", "--config", settings]
    words += ["--budget", "2", "--images", "4"]
    for keep in (2, 0):
        name = f"keep{keep}"
        assert cli.main([*words, "--keep", str(keep), "--study", name]) == 0
        study = Study.open(name, "sqlite:///lamsearch-studies/studies.db")
        text = study_page(study)
        data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
        assert data is not None
        assert len(json.loads(data[1])["images"]) == keep
        command = f"--budget 2 --images 4 --keep {keep} --study {name}"
        assert command in text
    assert "No images were kept" in text


def test_a_notebook_shows_the_answer_without_a_script() -> None:
    def evaluate(lam: float) -> dict[str, float]:
        return {"score": -((lam - 0.6) ** 2), "<script>": lam}

    summary = lamsearch.search(evaluate, beta=500, budget=4)
    shown = summary._repr_html_()
    assert "<script" not in shown
    assert f"{summary.lam:.3f}" in shown
    assert shown.count("<svg") == 1
    assert summary._repr_html_() == shown
    ids = re.findall(r'\bid="([^"]+)"', shown)
    other = lamsearch.search(evaluate, beta=500, budget=3)._repr_html_()
    assert not set(ids) & set(re.findall(r'\bid="([^"]+)"', other))
