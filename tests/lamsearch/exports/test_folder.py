"""A folder appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lamsearch.errors import ExportError, SettingsError
from lamsearch.exports.folder import require_free, require_space, whole_folder


def test_it_appears_at_the_end_with_the_usual_permissions(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with whole_folder(out) as partial:
        (partial / "file").write_text("x")
        (partial / "file").chmod(0o600)  # as safetensors leaves its files
        assert not out.exists()
        assert partial.parent == out.parent  # a rename within one file system
    assert (out / "file").read_text() == "x"
    (tmp_path / "plain").mkdir()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "file").write_text("x")
    assert (out / "file").stat().st_mode == (tmp_path / "file").stat().st_mode
    assert os.listdir(tmp_path / "a") == ["out"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out") as partial:
        (partial / "file").write_text("x")
    assert os.listdir(tmp_path / "out") == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "out") as partial:
            (partial / "file").write_text("x")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == []


def test_what_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write() -> None:
        with whole_folder(out):
            out.mkdir()
            (out / "theirs").write_text("x")

    with pytest.raises(SettingsError, match="not empty"):
        write()
    assert os.listdir(out) == ["theirs"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_long_name_works(tmp_path: Path) -> None:
    out = tmp_path / ("n" * 255)
    with whole_folder(out) as partial:
        (partial / "file").write_text("x")
    assert out.is_dir()


@pytest.mark.parametrize("name", ["n" * 256, "a\0b"])
def test_a_name_that_no_folder_can_have_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot write") as caught:
        require_free(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_too_little_room_is_noticed_beforehand(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    require_space(tmp_path / "out", 1000)
    with pytest.raises(ExportError, match=r"needs .* GB and the disk has .* GB left"):
        require_space(tmp_path / "out", 2 * free)
