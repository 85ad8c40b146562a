"""Every code block of README.md and docs/ runs, on fewer images, unless it says why it cannot.

A block is left out by a line `<!-- not run: reason -->` above it. The others of a page run in their
order, in one namespace and one temporary folder:

- `python` is executed;
- `console` has its lines after `$ lamsearch` given to the command line;
- `toml` is read as a settings file;
- `{code-block}` with a caption is written to the file of that name.

`bash` is for the set-up lines, which CI runs. Notebooks run when the docs are built.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import lamsearch
from deradiff import load_anchor
from lamsearch.cli import build_parser, main
from lamsearch.config.settings import find_settings, load_settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*/*.md")), ROOT / "docs" / "index.md"]

IMAGES, BUDGET, AUTO_BUDGET = 2, 2, 4
"""What searches are reduced to; with `--images auto` the first λ gets the whole budget."""

_FENCE = re.compile(
    r"^(?P<mark><!-- not run: .+ -->\n)?```(?P<language>\{[\w-]+\} \w+|\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        language: The word behind the fence.
        body: Its text.
        line: Where it begins in the page.
        runs: Whether it is to be run.
    """

    language: str
    body: str
    line: int
    runs: bool


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        yield Block(match["language"], match["body"], line, match["mark"] is None)


def is_notebook(page: Path) -> bool:
    return page.read_text(encoding="utf-8").startswith("---\nfile_format: mystnb")


RUNNABLE = [
    page
    for page in PAGES
    if not is_notebook(page)
    and any(b.runs and b.language in ("python", "console", "toml") for b in blocks(page))
]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    whole_run = lamsearch.run
    monkeypatch.setattr(lamsearch, "run", lambda *a, **k: whole_run(*a, **reduced(k)))
    names = given_names(page)
    before = set(sys.modules)
    for block in filter(lambda block: block.runs, blocks(page)):
        run_block(block, page, names)
    for name in set(sys.modules) - before:  # modules that the page itself wrote
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run_block(block: Block, page: Path, names: dict[str, Any]) -> None:
    if block.language == "python":
        # Compiled under the page's name and at its line, so that tracebacks point there.
        exec(compile("\n" * block.line + block.body, page, "exec"), names)
    elif block.language == "console":
        for line in block.body.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                run_line(line.removeprefix("$ "))
    elif block.language == "toml":
        read_settings(block.body)
    elif block.language.startswith("{code-block}"):
        caption = re.search(r"^:caption: (\S+)$", block.body, re.MULTILINE)
        if caption is not None:
            Path(caption[1]).write_text(block.body.partition("\n\n")[2], encoding="utf-8")


def run_line(line: str) -> None:
    """Run one command of lamsearch, whose output may be redirected to a file."""
    program, *arguments = shlex.split(line)
    assert program == "lamsearch", f"mark the block '<!-- not run: reason -->': {line}"
    output = io.StringIO()
    if ">" in arguments:
        arguments, file = arguments[:-2], Path(arguments[-1])
        with contextlib.redirect_stdout(output):
            assert main(reduced_arguments(arguments)) == 0, line
        file.write_text(output.getvalue(), encoding="utf-8")
    else:
        assert main(reduced_arguments(arguments)) == 0, line


def reduced_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments of a command with fewer images and evaluations."""
    if arguments[0] == "export":
        return [*arguments, "--images", str(IMAGES)]
    if arguments[0] != "run":
        return arguments
    flags = dict.fromkeys(arguments[1:])  # only to look flags up
    is_auto = "auto" in flags
    limits = {"--budget": AUTO_BUDGET if is_auto else BUDGET, "--confirm": IMAGES}
    if not is_auto:
        limits["--images"] = IMAGES
    result = list(arguments)
    for flag, most in limits.items():
        if flag in flags:
            result[result.index(flag) + 1] = str(most)
        elif flag == "--images":
            result += [flag, str(most)]
    return result


def reduced(keywords: dict[str, Any]) -> dict[str, Any]:
    return {**keywords, "budget": BUDGET, "images": IMAGES}


def read_settings(text: str) -> None:
    folder = Path("settings")
    folder.mkdir(exist_ok=True)
    for name in tomllib.loads(text).get("prompts", {}).values():
        (folder / name).write_text("a red seven\n", encoding="utf-8")
    (folder / "lamsearch.toml").write_text(text, encoding="utf-8")
    load_settings(folder / "lamsearch.toml")


def given_names(page: Path) -> dict[str, Any]:
    """Return what a page's blocks may use without defining it: the README's are excerpts."""
    if page.name != "README.md":
        return {}
    anchor = load_settings(find_settings()).anchor("beta500")
    loaded = load_anchor(anchor.reference, anchor.aligned, beta=anchor.beta)
    scores = np.random.default_rng(0).normal(size=8)
    return {
        "evaluate": lambda lam: scores * lam - lam**2,
        "optuna": optuna,
        "pipe": loaded.pipe,
        "aligned_unet": loaded.aligned,
    }


def test_programs_that_pages_name_exist() -> None:
    """A page may name a script or a module without running it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        modules = re.findall(r"python -m (examples\.[\w.]+\w)", text)
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        files = re.findall(
            r"\b((?:tests/)?(?:examples|lamsearch|docs)/[\w/.-]+\.(?:py|json|csv|md|toml))\b", text
        )
        missing += [file for file in files if not (ROOT / file).exists()]
        assert not missing, page
        # They import each other as a package, so they do not run as files.
        assert "python examples/benchmarks/" not in text, page


def test_every_option_has_a_sentence() -> None:
    (commands,) = (
        action.choices
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for name, command in commands.items():
        silent = [action.dest for action in command._actions if not action.help]
        assert not silent, name


def test_every_field_has_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference pages show the fields of these models."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    from option_tables import load

    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    models = [name for text in pages for name in re.findall(r"^```\{fields\} (\S+)$", text, re.M)]
    assert models
    for model in map(load, models):
        silent = [name for name, field in model.model_fields.items() if not field.description]
        assert not silent, model


def test_json_schema_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema that the docs offer is that of the JSON object."""
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    from json_schema import schema

    scores = np.random.default_rng(0).normal(size=8)
    summary = lamsearch.search(
        lambda lam: {"score": scores + lam - lam**2, "clip": scores - 0.01 * lam},
        budget=3,
        constraint="clip >= -1% of reference",
    )
    written = schema(lamsearch.Summary)
    jsonschema.Draft202012Validator.check_schema(written)
    answer = summary.to_json()
    jsonschema.validate(answer, written)
    assert set(written["properties"]) == set(answer)


def test_equations_named_in_the_code_exist() -> None:
    """Docstrings cite equations by label; a label that is renamed must be renamed there too."""
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    known = {label for text in pages for label in re.findall(r"^:label: (eq-[\w-]+)$", text, re.M)}
    cited = {
        label
        for package in ("lamsearch", "deradiff")
        for file in (ROOT / package).rglob("*.py")
        for label in re.findall(r"\beq-[\w-]+", file.read_text(encoding="utf-8"))
    }
    assert cited <= known
    used = {label for text in pages for label in re.findall(r"`(eq-[\w-]+)`", text)}
    assert used <= known
