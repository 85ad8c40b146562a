"""Prompt files: what is read, and what is refused in which words."""

from pathlib import Path

import pytest

from lamsearch.config.prompt_files import read_prompts
from lamsearch.errors import PromptError, SettingsError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_txt_is_one_prompt_a_line(tmp_path: Path):
    content = 'a red 7\r\n\r\n  # not a comment \n\ta, "b"\n   \nline\u2028separator\nünï 日本'
    expected = ["a red 7", "# not a comment", 'a, "b"', "line\u2028separator", "ünï 日本"]
    assert read_prompts(write(tmp_path, "x.txt", content)) == expected


def test_jsonl_holds_strings_or_objects(tmp_path: Path):
    lines = [
        '"a"',
        "",
        '{"prompt": "b", "text": "no"}',
        '{"caption": "c"}',
        '{"id": 1, "text": "d"}',
    ]
    assert read_prompts(write(tmp_path, "x.jsonl", "\n".join(lines))) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("column", ["prompt", "caption", "text"])
def test_csv_has_a_named_column(tmp_path: Path, column: str):
    content = f'id,{column}\n1,"a, ""b"""\n\n2,"two\nlines"\n'
    assert read_prompts(write(tmp_path, "x.csv", content)) == ['a, "b"', "two\nlines"]


@pytest.mark.parametrize(
    ("name", "content"), [("x.TXT", "é"), ("x.jsonl", '"é"'), ("x.csv", "prompt\né")]
)
def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path: Path, name: str, content: str):
    assert read_prompts(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == ["é"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.txt", "\n  \n", "x.txt: no prompts in it"),
        ("x.jsonl", "", "x.jsonl: no prompts in it"),
        ("x.csv", "prompt\n", "x.csv: no prompts in it"),
        ("x.yaml", "a", "'.yaml' given, expected one of .txt, .jsonl, .csv"),
        ("x.txt", b"ab\xff", "x.txt: not UTF-8 at byte 2"),
        ("x.jsonl", '"a"\n{"prompt": ', "x.jsonl:2: not valid JSON"),
        ("x.jsonl", '"a"\n\n["b"]', "x.jsonl:3: no prompt in this line"),
        ("x.jsonl", '{"promt": "b"}', "x.jsonl:1: no prompt in this line"),
        ("x.jsonl", '{"prompt": 3}', "x.jsonl:1: no prompt in this line"),
        ("x.jsonl", '""', "x.jsonl:1: no prompt in this line"),
        ("x.csv", "", "x.csv:1: no column prompt, caption, text"),
        ("x.csv", "a,b\n1,2", "x.csv:1: no column prompt, caption, text"),
        ("x.csv", "prompt\na\nb, c\n", "x.csv:3: more fields than columns"),
        ("x.csv", "id,prompt\n1,a\n2\n", "x.csv:3: no prompt in this line"),
        ("x.csv", 'prompt\n"a"b\n', "x.csv:2: not valid CSV"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    tmp_path: Path, name: str, content: str | bytes, complaint: str
):
    with pytest.raises(PromptError) as caught:
        read_prompts(write(tmp_path, name, content))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_settings_error(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"none.txt: cannot be read: No such file"):
        read_prompts(tmp_path / "none.txt")
