"""The pictures that a study keeps: in its own folder, one file per λ, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamsearch.errors import StudyError
from lamsearch.study.gallery import Gallery


def picture(level: int = 9) -> Image.Image:
    return Image.new("RGB", (4, 4), (level, 0, 0))


def gallery(folder: Path, study: str = "s") -> Gallery:
    return Gallery(study, f"sqlite:///{folder}/studies.db")


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "study",
    [
        "..",
        ".",
        "../up",
        "a/../../b",
        "/etc/x",
        "a\\b",
        "\x1b[2J",
        "日" * 300,
        "x" * 9999,
        "\ud800",
    ],
    ids=range(10),
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, study: str) -> None:
    inside = tmp_path / "studies"
    inside.mkdir()
    kept = gallery(inside, study)
    kept.keep(0.5, [0], [picture()])
    (file,) = files(tmp_path)
    assert file.parent.parent == inside
    assert kept.at(0.5) == [file, None, None]


def test_different_studies_have_different_folders(tmp_path: Path) -> None:
    names = ["a", "A b", "a/b", "a%2Fb", "..", "%2E%2E", "日" * 300, "日" * 301]
    for name in names:
        gallery(tmp_path, name).keep(0.5, [0], [picture()])
    assert len({file.parent for file in files(tmp_path)}) == len(names)


def test_every_lam_has_files_of_its_own_and_old_names_are_found(tmp_path: Path) -> None:
    lams = [0.0, 1e-7, 2e-7, 5e-7, 0.1, np.nextafter(0.1, 1), -1.5]
    kept = gallery(tmp_path)
    for level, lam in enumerate(lams):
        kept.keep(lam, [0], [picture(level)])
    for level, lam in enumerate(lams):
        file = kept.at(lam)[0]
        assert file is not None
        assert np.asarray(Image.open(file))[0, 0, 0] == level
    picture().save(tmp_path / "s" / "lam-0.333333-image-1.png")
    assert kept.at(1 / 3) == [None, tmp_path / "s" / "lam-0.333333-image-1.png", None]


def test_a_link_or_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "s").symlink_to(elsewhere)
    (tmp_path / "file").touch()
    for study, what in (("s", "is a link"), ("file", "is no folder")):
        with pytest.raises(StudyError, match=f"{what}: remove it, or name another study"):
            gallery(tmp_path, study).require_own_folder()
        with pytest.raises(StudyError, match=what):
            gallery(tmp_path, study).keep(0.5, [0], [picture()])
    picture().save(elsewhere / "lam-0.5-image-0.png")
    assert gallery(tmp_path).at(0.5) == [None] * 3
    assert len(files(elsewhere)) == 1


def test_a_link_in_a_pictures_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "precious.png"
    picture(1).save(other)
    before = other.read_bytes()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "lam-0.5-image-0.png").symlink_to(other)
    kept = gallery(tmp_path)
    assert kept.at(0.5) == [None] * 3
    kept.keep(0.5, [0], [picture(2)])
    assert other.read_bytes() == before
    assert kept.at(0.5)[0] == tmp_path / "s" / "lam-0.5-image-0.png"


def test_damaged_pictures_are_none(tmp_path: Path) -> None:
    kept = gallery(tmp_path)
    kept.keep(0.5, [0, 1, 2], [picture(), picture(), picture()])
    whole = (tmp_path / "s" / "lam-0.5-image-0.png").read_bytes()
    (tmp_path / "s" / "lam-0.5-image-0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "s" / "lam-0.5-image-1.png").write_bytes(b"")
    assert kept.at(0.5) == [None, None, tmp_path / "s" / "lam-0.5-image-2.png"]


def test_it_stays_where_it_was_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    kept = Gallery("s", "sqlite:///studies.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    kept.keep(0.5, [0], [picture()])
    assert files(tmp_path) == [tmp_path / "s" / "lam-0.5-image-0.png"]


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "s" / "lam-0.5-image-0.png").mkdir(parents=True)
    with pytest.raises(StudyError, match="a picture cannot be written into"):
        gallery(tmp_path).keep(0.5, [0], [picture()])
    assert files(tmp_path) == []
