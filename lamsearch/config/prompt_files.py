"""Prompt files: `.txt`, `.jsonl`, `.json`, `.csv` and `.tsv` → a list of prompts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamsearch.errors import PromptError
from lamsearch.plain_text import LONGEST_PATH, shortened, shown
from lamsearch.text_files import read_text_file

PROMPT_FIELDS = ("prompt", "caption", "text")

_LARGEST_BYTES = 256_000_000


def read_prompts(path: Path) -> list[str]:
    """Read the prompts of a file, in its order, with surrounding white space removed.

    - `.txt`: one prompt per line; only blank lines are skipped, so there are no comments.
    - `.jsonl`: one JSON value per line, a string or an object with `prompt`, `caption` or `text`.
    - `.json`: one JSON list of such values.
    - `.csv`: the column `prompt`, `caption` or `text`; the first of these that exists is read.
    - `.tsv`: the same with tabs between the fields; a prompt is one line, quoted or not.

    Names of columns and keys match in any case. Files are UTF-8, with or without a byte order mark.

    Raises:
        PromptError: If the file is missing, empty or of another kind, or a line is malformed.
    """
    readers: dict[str, Callable[[str, Path], list[str]]]
    readers = {
        ".txt": _from_txt,
        ".jsonl": _from_jsonl,
        ".json": _from_json,
        ".csv": _from_csv,
        ".tsv": _from_tsv,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        given = f"{shortened(path, LONGEST_PATH)}: {shown(path.suffix)} given"
        raise PromptError(f"{given}, expected one of {', '.join(readers)}")
    text = read_text_file(path, largest=_LARGEST_BYTES, error=PromptError)
    prompts = reader(text, path)
    if not prompts:
        raise PromptError(f"{path}: no prompts in it, expected at least one")
    return prompts


def _numbered_lines(text: str) -> list[tuple[int, str]]:
    # Not splitlines(): a prompt may contain U+2028, which does not end a line of a file.
    lines = [line.strip() for line in text.split("\n")]
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def _from_txt(text: str, path: Path) -> list[str]:
    return [_checked(line, f"{path}:{number}") for number, line in _numbered_lines(text)]


def _from_jsonl(text: str, path: Path) -> list[str]:
    return [
        _json_prompt(_parsed(line, f"{path}:{number}"), f"{path}:{number}")
        for number, line in _numbered_lines(text)
    ]


def _from_json(text: str, path: Path) -> list[str]:
    if not text.strip():
        return []
    values = _parsed(text, f"{path}")
    if not isinstance(values, list):
        given = f"a JSON {'object' if isinstance(values, dict) else 'value'} given"
        raise PromptError(f'{path}: {given}, expected a list of prompts: ["…", …]')
    return [_json_prompt(value, f"{path}: item {i}") for i, value in enumerate(values, start=1)]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        several = "; name the file .jsonl if each line is a value of its own"
        hint = several if "Extra data" in str(error) and where.endswith(".json") else ""
        raise PromptError(f"{where}: not valid JSON: {error}{hint}") from error
    except RecursionError as error:
        raise PromptError(f"{where}: not valid JSON: nested too deeply") from error


def _json_prompt(value: Any, where: str) -> str:
    if isinstance(value, Mapping):
        field = _prompt_field(list(value), where)
        value = value[field] if field is not None else None
    return _checked(value, where)


def _from_csv(text: str, path: Path) -> list[str]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    return _column(rows, path, _checked)


def _from_tsv(text: str, path: Path) -> list[str]:
    # Prompts such as PartiPrompts' begin with quotation marks that are part of the text, so quotes
    # have no meaning between fields; they are removed only where they enclose a whole field.
    stream = io.StringIO(text, newline="")
    rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    return _column(rows, path, _unquoted)


def _column(rows: Any, path: Path, read: Callable[[Any, str], str]) -> list[str]:
    """Return the prompts of a table whose first row names its columns."""
    prompts = []
    try:
        names: list[str] = next(rows, [])
        name = _prompt_field(names, f"{path}:1")
        if name is None:
            columns = ", ".join(PROMPT_FIELDS)
            raise PromptError(f"{path}:1: no column {columns}; rename the column of prompts")
        column = names.index(name)
        for row in filter(None, rows):
            where = f"{path}:{rows.line_num}"
            if len(row) > len(names):
                raise PromptError(f"{where}: more fields than columns; quote commas")
            prompts.append(read(row[column] if column < len(row) else None, where))
    except csv.Error as error:
        kind = path.suffix[1:].upper()
        raise PromptError(f"{path}:{rows.line_num}: not valid {kind}: {error}") from error
    return prompts


def _prompt_field(names: Sequence[str], where: str) -> str | None:
    """Return the name that holds the prompt, as the file spells it, or None."""
    for field in PROMPT_FIELDS:
        found = [name for name in names if name.strip().lower() == field]
        if found.count(field) == 1:
            return field
        if len(found) > 1:
            raise PromptError(f"{where}: '{field}' is there {len(found)} times; keep one of them")
        if found:
            return found[0]
    return None


def _unquoted(value: str | None, where: str) -> str:
    text = (value or "").strip()
    if text.startswith('"'):
        if text.count('"') % 2:
            raise PromptError(f"{where}: a quotation mark is not closed; keep prompts on one line")
        inner = text[1:-1]
        if len(text) > 1 and text.endswith('"') and '"' not in inner.replace('""', ""):
            text = inner.replace('""', '"')
    return _checked(text, where)


def _checked(value: Any, where: str) -> str:
    """Return the prompt, or raise PromptError if it is none, or not text that can be encoded."""
    if not isinstance(value, str) or not value.strip():
        expected = f"expected a string, or an object with {', '.join(PROMPT_FIELDS)}"
        raise PromptError(f"{where}: no prompt in this line; {expected}")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        wrong = "a NUL character" if "\0" in value else "half of a surrogate pair"
        raise PromptError(f"{where}: the prompt contains {wrong}, expected plain text")
    return value.strip()
