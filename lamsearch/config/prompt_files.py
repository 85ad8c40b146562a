"""Prompt files: `.txt`, `.jsonl` and `.csv` → a list of prompts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamsearch.errors import PromptError

PROMPT_FIELDS = ("prompt", "caption", "text")


def read_prompts(path: Path) -> list[str]:
    """Read the prompts of a file, in its order, with surrounding white space removed.

    - `.txt`: one prompt per line; only blank lines are skipped, so there are no comments.
    - `.jsonl`: one JSON value per line, a string or an object with `prompt`, `caption` or `text`.
    - `.csv`: the column `prompt`, `caption` or `text`; the first of these that exists is read.

    Files are UTF-8, with or without a byte order mark.

    Raises:
        PromptError: If the file is missing, empty or of another kind, or a line is malformed.
    """
    readers: dict[str, Callable[[str, Path], list[str]]]
    readers = {".txt": _from_txt, ".jsonl": _from_jsonl, ".csv": _from_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise PromptError(f"{path}: '{path.suffix}' given, expected one of {', '.join(readers)}")
    prompts = reader(_text_of(path), path)
    if not prompts:
        raise PromptError(f"{path}: no prompts in it, expected at least one")
    return prompts


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PromptError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _numbered_lines(text: str) -> list[tuple[int, str]]:
    # Not splitlines(): a prompt may contain U+2028, which does not end a line of a file.
    lines = [line.strip() for line in text.split("\n")]
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def _from_txt(text: str, path: Path) -> list[str]:
    return [line for _, line in _numbered_lines(text)]


def _from_jsonl(text: str, path: Path) -> list[str]:
    prompts = []
    for number, line in _numbered_lines(text):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise PromptError(f"{path}:{number}: not valid JSON: {error}") from error
        if isinstance(value, dict):
            value = next((value[name] for name in PROMPT_FIELDS if name in value), None)
        prompts.append(_checked(value, path, number=number))
    return prompts


def _from_csv(text: str, path: Path) -> list[str]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    prompts = []
    try:
        column = next((name for name in PROMPT_FIELDS if name in (reader.fieldnames or ())), None)
        if column is None:
            raise PromptError(
                f"{path}:1: no column {', '.join(PROMPT_FIELDS)}; rename the column of prompts"
            )
        for row in reader:
            if None in row:
                raise PromptError(
                    f"{path}:{reader.line_num}: more fields than columns; quote commas"
                )
            prompts.append(_checked(row[column], path, number=reader.line_num))
    except csv.Error as error:
        raise PromptError(f"{path}:{reader.reader.line_num}: not valid CSV: {error}") from error
    return prompts


def _checked(value: Any, path: Path, *, number: int) -> str:
    if not isinstance(value, str) or not value.strip():
        expected = f"expected a string, or an object with {', '.join(PROMPT_FIELDS)}"
        raise PromptError(f"{path}:{number}: no prompt in this line; {expected}")
    return value.strip()
