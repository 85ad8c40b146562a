"""Who imports whom: the tree reads as the method, and nothing imports upward."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lamsearch

ROOT = Path(__file__).parents[1]

# module → the modules of its own package that it may import; errors is everybody's
ALLOWED = {
    "deradiff.gaussian": set(),
    "deradiff.reverse_step": {"gaussian"},
    "deradiff.sampling": {"gaussian", "posterior"},
    "deradiff.adapters": set(),
    "deradiff.realignment": {"adapters", "gaussian", "posterior"},
    "deradiff.loading": {"realignment"},
    "deradiff.anchor": {"gaussian", "loading", "realignment"},
    "deradiff.dpo.data": set(),
    "deradiff.dpo.trainer": {"preferences"},
    "lamsearch.errors": set(),
    "lamsearch.config.toml_table": set(),
    "lamsearch.config.settings": {"toml_table"},
    "lamsearch.config.prompt_files": set(),
    "lamsearch.config.expressions": set(),
    "lamsearch.rewards.base": set(),
    "lamsearch.rewards.dual_encoder": {"rewards.base"},
    "lamsearch.rewards.open_clip_weights": set(),
    "lamsearch.rewards.clip": {"rewards.base", "rewards.dual_encoder"},
    "lamsearch.rewards.pickscore": {"rewards.base", "rewards.clip"},
    "lamsearch.rewards.hps": {
        "rewards.base",
        "rewards.clip",
        "rewards.dual_encoder",
        "rewards.open_clip_weights",
    },
    "lamsearch.rewards.registry": {
        "rewards.base",
        "rewards.clip",
        "rewards.hps",
        "rewards.pickscore",
        "settings",
    },
    "lamsearch.rewards.panel": {"objective", "rewards.base", "rewards.registry", "settings"},
    "lamsearch.surrogate.gls": set(),
    "lamsearch.surrogate.image_noise": {"missing"},
    "lamsearch.surrogate.observations": {"deviations"},
    "lamsearch.surrogate.hyperparameters": set(),
    "lamsearch.surrogate.gaussian_process": {"hyperparameters"},
    "lamsearch.surrogate.model": {"gaussian_process", "hyperparameters", "observations"},
    "lamsearch.bayesopt.initial_design": set(),
    "lamsearch.evaluation.block_design": set(),
    "lamsearch.bayesopt.acquisition": {"surrogate"},
    "lamsearch.bayesopt.recommendation": {"acquisition", "surrogate"},
    "lamsearch.bayesopt.image_allocation": {"acquisition", "deviations", "surrogate"},
    "lamsearch.study.leases": set(),
    "lamsearch.study.storage": {"leases"},
    "lamsearch.bayesopt.constraint": {"objective", "observations", "surrogate"},
    "lamsearch.study.records": set(),
    "lamsearch.study.database": {"allocation", "leases", "records", "storage"},
    "lamsearch.study.gallery": {"storage"},
    "lamsearch.evaluation.prompt_encoder": {"prompts"},
    "lamsearch.evaluation.images": {
        "embeddings",
        "prompts",
        "records",
        "rewards",
        "schedule",
        "settings",
    },
    "lamsearch.bayesopt.strategy": {"acquisition", "observations", "surrogate"},
    "lamsearch.bayesopt.policy": {
        "acquisition",
        "allocation",
        "constraint",
        "design",
        "records",
        "strategy",
        "surrogate",
    },
    "lamsearch.bayesopt.optuna_sampler": {"constraint", "proposal", "records", "strategy"},
    "lamsearch.report.tracked_rewards": {
        "constraint",
        "observations",
        "recommendation",
        "records",
        "surrogate",
    },
    "lamsearch.report.rows": {"observations", "records"},
    "lamsearch.report.confirmation": {
        "allocation",
        "evaluated",
        "observations",
        "others",
        "records",
        "study",
    },
    "lamsearch.report.summary": {
        "confirmation",
        "evaluated",
        "options",
        "others",
        "proposal",
        "recommendation",
        "records",
        "storage",
        "study",
        "surrogate",
    },
    "lamsearch.loop": {"records", "study"},
    "lamsearch.bayesopt.config": {
        "allocation",
        "constraint",
        "proposal",
        "recommendation",
        "records",
        "sampler",
        "strategy",
    },
    "lamsearch.evaluation.functions": {
        "constraint",
        "loop",
        "options",
        "records",
        "strategy",
        "study",
        "summary",
        "surrogate",
    },
    "lamsearch.api": {
        "confirmation",
        "constraint",
        "evaluation",
        "gallery",
        "loop",
        "objective",
        "options",
        "prompts",
        "rewards",
        "schedule",
        "settings",
        "strategy",
        "study",
        "summary",
        "surrogate",
    },
    "lamsearch.report.table": {"confirmation", "evaluated", "others", "summary"},
    "lamsearch.report.figure": {"evaluated", "report.table", "summary", "surrogate"},
    "lamsearch.report.progress": {"records"},
    "lamsearch.cli": {
        "gallery",
        "image_search",
        "report.figure",
        "report.progress",
        "report.table",
        "settings",
        "study",
        "summary",
    },
}
ONLY_BRIDGE = "lamsearch.evaluation.images"
NO_OPTUNA_NO_DIFFUSERS = (
    "objective",
    "constraint",
    "missing",
    "deviations",
    "observations",
    "hyperparameters",
    "gaussian_process",
    "surrogate",
    "design",
    "schedule",
    "acquisition",
    "allocation",
    "recommendation",
    "strategy",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


MODULES = {
    module_name(p): imports(p) for d in ("deradiff", "lamsearch") for p in (ROOT / d).rglob("*.py")
}


def of_project(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in ("deradiff", "lamsearch")}


def test_every_module_has_its_place() -> None:
    packages = {"deradiff", "lamsearch", "lamsearch.rewards", "lamsearch.report"}
    assert set(ALLOWED) == set(MODULES) - packages


@pytest.mark.parametrize("module", ALLOWED)
def test_imports_are_the_allowed_ones(module: str) -> None:
    package = module.split(".")[0]
    allowed = {f"{package}.{name}" for name in {*ALLOWED[module], "errors"}}
    own = {name for name in MODULES[module] if name.split(".")[0] == package}
    assert own <= allowed


def test_deradiff_knows_nothing_of_lamsearch() -> None:
    for module, names in MODULES.items():
        if module.startswith("deradiff"):
            assert not [name for name in names if name.startswith("lamsearch")], module


def test_lamsearch_touches_diffusion_only_in_the_evaluation() -> None:
    users = {
        module
        for module, names in MODULES.items()
        if module.startswith("lamsearch") and any(n.split(".")[0] == "deradiff" for n in names)
    }
    assert users == {ONLY_BRIDGE}


@pytest.mark.parametrize("module", NO_OPTUNA_NO_DIFFUSERS)
def test_the_mathematics_imports_neither_optuna_nor_diffusers(module: str) -> None:
    roots = {name.split(".")[0] for name in MODULES[f"lamsearch.{module}"]}
    assert not roots & {"optuna", "diffusers", "transformers", "deradiff"}


def test_there_is_no_import_cycle() -> None:
    remaining = {m: of_project(n) - {m} for m, n in MODULES.items() if m.count(".")}
    while remaining:
        free = [m for m, names in remaining.items() if not names & remaining.keys()]
        assert free, f"a cycle among {sorted(remaining)}"
        for module in free:
            del remaining[module]


def test_public_names() -> None:
    assert lamsearch.__all__ == ["LamSampler", "LamsearchError", "Summary", "run", "search"]


def test_every_public_name_is_there() -> None:
    for name in lamsearch.__all__:
        assert getattr(lamsearch, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        lamsearch.absent  # noqa: B018


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = "import sys, lamsearch.cli; print({'torch', 'diffusers', 'botorch'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
