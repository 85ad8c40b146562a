"""Files from outside: anything that is no text of a sensible size is one line, at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import find_settings, load_settings
from lamsearch.errors import LamsearchError, PromptError, SettingsError, StudyError
from lamsearch.study.lines import read_lines
from lamsearch.text_files import read_text_file


def sparse(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(3_000_000_000)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "is a folder, expected a file of text"),
    "pipe": (os.mkfifo, "is a pipe, expected a file of text"),
    "device": (lambda file: file.symlink_to("/dev/zero"), "is a device, expected"),
    "link to nothing": (lambda file: file.symlink_to("absent"), "is a link to nothing"),
    "link to itself": (lambda file: file.symlink_to(file.name), "is a link to nothing"),
    "huge": (sparse, "MB, the most that is read"),
    "UTF-16": (
        lambda file: file.write_text("a", "utf-16"),
        "not UTF-8 at byte 0; save it as UTF-8",
    ),
    "Latin-1": (lambda file: file.write_bytes(b"ab\xe9"), "not UTF-8 at byte 2"),
}
READERS = {
    "lamsearch.toml": (load_settings, SettingsError),
    "prompts.txt": (read_prompts, PromptError),
    "prompts.jsonl": (read_prompts, PromptError),
    "study.jsonl": (read_lines, StudyError),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_text_file_is_one_line(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / name
    make, problem = KINDS[kind]
    make(file)
    read, error = READERS[name]
    with pytest.raises(error) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_lie_here_are_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    KINDS[kind][0](tmp_path / "lamsearch.toml")
    assert find_settings() == Path("lamsearch.toml")
    with pytest.raises(SettingsError, match=r"^lamsearch\.toml: "):
        load_settings(find_settings())


def test_a_byte_order_mark_and_a_link_to_a_file_are_fine(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("é\n", encoding="utf-8-sig")
    (tmp_path / "link").symlink_to("x")
    text = read_text_file(tmp_path / "link", largest=10, error=LamsearchError)
    assert text == "é\n"


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300], ids=range(3))
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(LamsearchError, match="cannot be read: ") as caught:
        read_text_file(Path(name), largest=10, error=LamsearchError)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lamsearch.toml", "a = " + "[" * 100_000),
        ("lamsearch.toml", "a = " + "{a = " * 100_000),
        ("prompts.json", "[" * 100_000),
        ("prompts.jsonl", '{"a": ' * 100_000),
        ("study.jsonl", '{"a": ' * 100_000),
    ],
    ids=range(5),
)
def test_nested_too_deeply(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    read, error = {**READERS, "prompts.json": (read_prompts, PromptError)}[name]
    with pytest.raises(error) as caught:
        read(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
