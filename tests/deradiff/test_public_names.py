"""The names that the package exports, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

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

EACH_AFRESH = """
import sys
for first in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "deradiff"]:
        del sys.modules[name]
    exec(first, {})
    import deradiff
    print(type(deradiff.reverse_step).__name__)
"""


@pytest.mark.slow
def test_reverse_step_is_the_function_whichever_import_comes_first() -> None:
    """A submodule of the same name takes its place in the package while it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", EACH_AFRESH, *IMPORTS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["function"] * len(IMPORTS)
