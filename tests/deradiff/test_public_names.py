"""The names that the package exports, whatever was imported before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

import deradiff
import deradiff.dpo


def test_exports_are_sorted_and_there() -> None:
    for package in (deradiff, deradiff.dpo):
        assert all(hasattr(package, name) for name in package.__all__)
    assert sorted(deradiff.__all__) == deradiff.__all__
    assert deradiff.dpo.__all__ == [
        "PRESETS",
        "DPOSettings",
        "DPOStep",
        "PreferenceFolder",
        "PreferencePair",
        "PreferenceParquet",
        "diffusion_dpo_loss",
        "train",
    ]


IMPORTS = [
    "import deradiff.reverse_step",
    "from deradiff.reverse_step import reverse_step",
    "import importlib; importlib.import_module('deradiff.reverse_step')",
    "import deradiff.sampling; import deradiff.reverse_step",
    "import deradiff; import deradiff.reverse_step",
]


@contextmanager
def not_imported(package: str) -> Iterator[None]:
    """Forget that a package has been imported, and what is imported of it meanwhile."""

    def forget() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.split(".")[0] == package]
        return {name: sys.modules.pop(name) for name in names}

    imported = forget()
    try:
        yield
    finally:
        forget()
        sys.modules.update(imported)


@pytest.mark.parametrize("first", IMPORTS)
def test_reverse_step_is_the_function_whichever_import_comes_first(first: str) -> None:
    """A submodule of the same name takes its place in the package while it is imported."""
    with not_imported("deradiff"):
        exec(first, {})
        afresh = sys.modules["deradiff"]
    assert afresh is not deradiff
    assert type(afresh.reverse_step).__name__ == "function"
