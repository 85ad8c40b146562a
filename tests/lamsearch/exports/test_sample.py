"""`lamsearch sample`: the same seeds at every λ, and what the strip shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamsearch import cli
from lamsearch.errors import ExportError
from lamsearch.exports.sample import _write

from .conftest import TinyStudy

pytestmark = pytest.mark.slow


def sample(study: TinyStudy, *more: str) -> int:
    return cli.main(study.arguments("sample", "--anchor", "b500", *more))


def test_a_studys_strip_has_its_own_images(
    study: TinyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default the rows are the study's first images, so kept ones must be there again."""
    lam = next(each.lam for each in study.summary.evaluations if 0 < each.lam < 1)
    out = tmp_path / "strip"
    more = ("--study", study.name, "--lam", "0", repr(lam), "-o", str(out), "--json")
    assert sample(study, *more) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["lam_star"] == study.summary.lam
    assert answer["lams"] == sorted({0.0, lam, study.summary.lam})
    assert answer["effective_betas"][0] is None
    assert answer["prompts"] == [image.prompt for image in study.plan]
    assert answer["seeds"] == [image.seed for image in study.plan]
    for row, file in enumerate(study.kept(lam)):
        ours = np.asarray(Image.open(out / f"lam-{lam}-image-{row}.png"))
        assert np.array_equal(ours, np.asarray(Image.open(file)))
    with Image.open(out / "strip.png") as strip:
        assert strip.width >= len(answer["lams"]) * 80


def test_prompts_stand_in_their_order_and_seeds_do_not_depend_on_lam(
    study: TinyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for number, lams in enumerate((["0.5"], ["2", "0.5", "0"])):
        out = tmp_path / f"{number}"
        prompts = ("--prompt", "red blue", "blue", "--images", "3", "--seed", "5")
        assert sample(study, *prompts, "--lam", *lams, "-o", str(out), "--json") == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["prompts"] == ["red blue", "blue", "red blue"]
    assert answers[0]["seeds"] == answers[1]["seeds"]
    assert answers[1]["lams"] == [0.0, 0.5, 2.0]
    assert answers[1]["lam_star"] is None
    assert len(set(answers[0]["seeds"])) == 3
    alone, among = (
        [np.asarray(Image.open(tmp_path / f"{n}" / f"lam-0.5-image-{row}.png")) for row in range(3)]
        for n in (0, 1)
    )
    assert np.array_equal(alone, among)
    assert not np.array_equal(alone[0], alone[2])


def test_a_picture_is_replaced_whole(study: TinyStudy, tmp_path: Path) -> None:
    out = tmp_path / "strip.webp"
    out.write_text("older")
    assert sample(study, "--images", "1", "--lam", "0", "-o", str(out)) == 0
    with Image.open(out) as strip:
        assert strip.format == "WEBP"
    assert [file.name for file in tmp_path.iterdir()] == ["strip.webp"]


def test_a_strip_that_a_format_has_no_room_for_is_kept_as_png(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot write .*strip\.webp: .*; it is in .*strip\.png"):
        _write(Image.new("RGB", (8, 17_000)), {}, tmp_path / "strip.webp")
    assert [file.name for file in tmp_path.iterdir()] == ["strip.png"]


def test_bad_input_is_one_line(
    study: TinyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    (tmp_path / "prompts.txt").write_text("blue\n")
    good = ("-o", str(tmp_path / "x.png"))
    both = ("--prompt", "a", "--prompts", str(tmp_path / "prompts.txt"))
    for more, status, said in (
        (("-o", str(tmp_path / "x.gif")), 2, "expected one of .png, .webp, .jpg, .jpeg"),
        (("-o", str(tmp_path / "full")), 2, "exists and is not empty"),
        (("-o", str(tmp_path / "prompts.txt" / "x.png")), 2, "cannot write"),
        ((*good, "--lam", "inf"), 2, "expected finite numbers"),
        ((*good, "--prompt", " "), 2, "prompt ' ' given, expected a text"),
        ((*good, *both), 2, "expected one of them"),
        ((*good, "--images", "0"), 2, "images 0 given, expected 1 to"),
        ((*good, "--images", "9999"), 2, "expected fewer images"),
        ((*good, "--study", "absent"), 1, "no study 'absent'"),
    ):
        assert sample(study, *more) == status, said
        error = capsys.readouterr().err
        assert said in error
        assert len([line for line in error.splitlines() if line.startswith("error:")]) == 1
    assert {file.name for file in tmp_path.iterdir()} == {"full", "prompts.txt"}
