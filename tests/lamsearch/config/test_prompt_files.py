"""Prompt files: what is read, and what is refused in which words."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import binary, sampled_from

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


@pytest.mark.parametrize("column", ["Prompt", "PROMPT", " prompt ", "Caption"])
def test_a_column_matches_in_any_case(tmp_path: Path, column: str):
    assert read_prompts(write(tmp_path, "x.csv", f"id,{column}\n1,a\n")) == ["a"]
    assert read_prompts(write(tmp_path, "x.jsonl", f'{{"{column}": "a"}}')) == ["a"]


def test_the_exact_name_comes_before_another_spelling(tmp_path: Path):
    assert read_prompts(write(tmp_path, "x.csv", "Prompt,prompt\nno,yes\n")) == ["yes"]


def test_tsv_takes_quotation_marks_as_they_are(tmp_path: Path):
    """PartiPrompts writes them plainly, a spreadsheet around the whole field and doubled."""
    rows = ['a sign "stop"\tx', '"Hi" he said\tx', '"a ""b"" c"\tx', '"plain"\tx', 'a 12"\tx']
    content = "\n".join(["Prompt\tCategory", *rows, ""])
    expected = ['a sign "stop"', '"Hi" he said', 'a "b" c', "plain", 'a 12"']
    assert read_prompts(write(tmp_path, "x.tsv", content)) == expected


def test_json_is_a_list_of_strings_or_objects(tmp_path: Path):
    content = '["a", {"Prompt": "b", "text": "no"},\n {"caption": " c "}]'
    assert read_prompts(write(tmp_path, "x.json", content)) == ["a", "b", "c"]


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
        ("x.yaml", "a", "'.yaml' given, expected one of .txt, .jsonl, .json, .csv"),
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
        ("x.csv", "Prompt,PROMPT\na,b\n", "x.csv:1: 'prompt' is there 2 times"),
        ("x.csv", f"prompt\n{'a' * 200_000}\n", "x.csv:2: not valid CSV: field larger than"),
        ("x.csv", "prompt\na\0b\n", "x.csv:2: the prompt contains a NUL character"),
        ("x.txt", "a\0b", "x.txt:1: the prompt contains a NUL character"),
        ("x.tsv", "id\tprompt\n1\ta\tb\n", "x.tsv:2: more fields than columns"),
        ("x.tsv", 'prompt\n"two\nlines"\n', "x.tsv:2: a quotation mark is not closed"),
        ("x.tsv", "a\tb\n", "x.tsv:1: no column prompt, caption, text"),
        ("x.json", "", "x.json: no prompts in it"),
        ("x.json", "[]", "x.json: no prompts in it"),
        ("x.json", '{"prompt": "a"}', "x.json: a JSON object given, expected a list of prompts"),
        ("x.json", "3", "x.json: a JSON value given, expected a list of prompts"),
        ("x.json", '["a", 3]', "x.json: item 2: no prompt in this line"),
        ("x.json", '"a"\n"b"', "name the file .jsonl if each line is a value of its own"),
        ("x.json", "[" * 200_000, "x.json: not valid JSON: nested too deeply"),
        ("x.jsonl", "[" * 200_000, "x.jsonl:1: not valid JSON: nested too deeply"),
        ("x.jsonl", '"a \\ud800 b"', "x.jsonl:1: the prompt contains half of a surrogate pair"),
        ("x.json", "[" + "9" * 5000 + "]", "x.json: not valid JSON: Exceeds the limit"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    tmp_path: Path, name: str, content: str | bytes, complaint: str
):
    with pytest.raises(PromptError) as caught:
        read_prompts(write(tmp_path, name, content))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@given(content=binary(max_size=60), suffix=sampled_from(["txt", "jsonl", "json", "csv", "tsv"]))
def test_whatever_a_file_holds_is_prompts_or_a_prompt_error(
    content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
):
    path = write(tmp_path_factory.getbasetemp(), f"fuzz.{suffix}", b"prompt\n" + content)
    with contextlib.suppress(PromptError):
        assert all(prompt.strip() == prompt != "" for prompt in read_prompts(path))


def test_a_missing_file_is_a_settings_error(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"none.txt: cannot be read: No such file"):
        read_prompts(tmp_path / "none.txt")
