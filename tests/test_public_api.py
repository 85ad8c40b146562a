"""What users may rely on: public names, keywords and flags, all pinned to the options' fields."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib.metadata import version
from typing import get_args

import numpy as np
import pytest
import torch

import lamsearch
from lamsearch.bayesopt.acquisition import ACQUISITIONS
from lamsearch.bayesopt.config import Acquisition, Kernel, SearchConfig
from lamsearch.cli import build_parser
from lamsearch.errors import SettingsError
from lamsearch.evaluation.config import ConfirmationConfig, ImagesConfig
from lamsearch.flags import GROUPS, details
from lamsearch.keywords import RunKeywords, SearchKeywords
from lamsearch.surrogate.prior import CORRELATIONS
from lamsearch.tracking.config import TrackingConfig

CONFIGS = (SearchConfig, ImagesConfig, ConfirmationConfig, TrackingConfig)


def test_public_names() -> None:
    classes = ["FamilyAgreement", "LamSampler", "LamsearchError", "Summary"]
    assert lamsearch.__all__ == [*classes, "agree", "run", "search"]
    assert {*lamsearch.__all__, "__version__"} <= {*dir(lamsearch)}
    for name in lamsearch.__all__:
        assert getattr(lamsearch, name).__name__ == name
    assert lamsearch.__version__ == version("lamsearch")
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        lamsearch.absent  # noqa: B018


def test_functions_are_not_hidden_by_modules() -> None:
    """A submodule takes the place of what has its name in the package as soon as it is imported."""
    modules = {module.name for module in pkgutil.iter_modules(lamsearch.__path__)}
    assert not modules & {*lamsearch.__all__}


def test_keywords_are_the_fields() -> None:
    search = {*SearchConfig.model_fields} - {"budget"}
    assert {*SearchKeywords.__annotations__} == search
    places = {"config", "study", "storage", "progress"}
    images = {*ImagesConfig.model_fields, *ConfirmationConfig.model_fields}
    images |= {*TrackingConfig.model_fields}
    assert {*RunKeywords.__annotations__} == search | images | places


def test_choices_are_those_that_exist() -> None:
    assert set(get_args(Acquisition)) == set(ACQUISITIONS)
    assert set(get_args(Kernel)) == {"auto", *CORRELATIONS}


def test_every_field_is_described_and_is_a_flag() -> None:
    fields = {name: field for config in CONFIGS for name, field in config.model_fields.items()}
    help_text = _run_help()
    for name, field in fields.items():
        assert field.description
        assert field.description.endswith(".")
        assert details(field)["group"] in GROUPS
        assert f"--{name.replace('_', '-')}" in help_text
    headings = {details(field)["group"]: None for field in fields.values()}
    for heading in (*headings, "storage", "output"):
        assert f"\n{heading}:\n" in help_text


def test_flags_that_are_not_given_leave_the_defaults_to_the_fields() -> None:
    required = ["run", "--anchor", "a", "--reward", "r", "--budget", "3"]
    given = vars(build_parser(required).parse_args(required))
    assert not given.keys() & (
        {*ImagesConfig.model_fields, *ConfirmationConfig.model_fields, *SearchConfig.model_fields}
        - {"budget"}
    )
    every = [*required, "--bounds", "0", "2", "--images", "auto", "--also", "x, y,"]
    every += ["--also", "z"]
    parsed = vars(build_parser(every).parse_args(every))
    assert (parsed["bounds"], parsed["images"], parsed["also"]) == ([0.0, 2.0], "auto", [*"xyz"])


def test_a_misspelt_keyword_is_a_type_error_with_a_hint() -> None:
    with pytest.raises(TypeError, match=r"search\(\) got an .* 'bound'; did you mean 'bounds'\?"):
        lamsearch.search(float, bound=(0, 1))
    with pytest.raises(TypeError, match=r"run\(\) got an .* 'image'; did you mean 'images'\?"):
        lamsearch.run("a", "r", image=3)


ABSENT = {
    "lamsearch.cli": ["pydantic", "rich", "torch"],
    "lamsearch.bayesopt.config, lamsearch.evaluation.config": ["torch", "numpy", "optuna"],
    "lamsearch.report.summarize": ["diffusers", "transformers", "botorch", "matplotlib"],
    "lamsearch.function_search": ["diffusers", "transformers", "botorch", "matplotlib"],
}
"""Modules, and the libraries that importing them must not import."""


@pytest.mark.slow
def test_modules_import_only_what_they_need() -> None:
    # In one process: what is absent after several imports is absent after each of them.
    code = "import sys\n" + "".join(
        f"import {modules}\nprint(*{{*{absent}}} & {{*sys.modules}}, sep=', ')\n"
        for modules, absent in ABSENT.items()
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert dict(zip(ABSENT, done.stdout.splitlines(), strict=True)) == dict.fromkeys(ABSENT, "")


def _run_help() -> str:
    run = next(a for a in build_parser(["run"])._actions if a.choices is not None).choices["run"]
    text: str = run.format_help()
    return text


def test_options_take_what_means_the_same() -> None:
    assert ImagesConfig(device=torch.device("cpu")).device == "cpu"
    assert ImagesConfig(images=np.int64(8), also=["a"]).model_dump()["also"] == ("a",)
    given = SearchConfig(bounds=[0, np.float32(2)], seed=np.int64(3), budget=np.int64(4))
    assert (given.bounds, given.seed, given.budget) == ((0.0, 2.0), 3, 4)
    with pytest.raises(SettingsError, match="unknown option 'budgett'; did you mean 'budget'"):
        SearchConfig(budgett=3)
