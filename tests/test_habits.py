"""The size of modules, functions and signatures stays where a reader can hold it."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(file for name in ("deradiff", "lamsearch") for file in (ROOT / name).rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_is_short_and_so_are_its_functions(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 250
    for function in functions(file):
        assert body_lines(function) <= 40, function.name


def test_most_modules_are_shorter_still() -> None:
    counts = [len(file.read_text().splitlines()) for file in MODULES if file.stat().st_size > 100]
    assert statistics.median(counts) <= 130
