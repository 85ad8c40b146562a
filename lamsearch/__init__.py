"""Find the alignment strength β/λ* that your reward likes best, from one aligned model."""

from __future__ import annotations

# Not from typing, which takes longer to import than Ctrl-C may take to be heard.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from lamsearch.agreement.agree import agree
    from lamsearch.agreement.results import FamilyAgreement
    from lamsearch.bayesopt.optuna_sampler import LamSampler
    from lamsearch.errors import LamsearchError
    from lamsearch.function_search import search
    from lamsearch.image_search import run
    from lamsearch.report.summary import Summary

    __version__: str

__all__ = [
    "FamilyAgreement",
    "LamSampler",
    "LamsearchError",
    "Summary",
    "agree",
    "run",
    "search",
]

_HOMES = {
    "FamilyAgreement": "lamsearch.agreement.results",
    "LamSampler": "lamsearch.bayesopt.optuna_sampler",
    "LamsearchError": "lamsearch.errors",
    "Summary": "lamsearch.report.summary",
    "agree": "lamsearch.agreement.agree",
    "run": "lamsearch.image_search",
    "search": "lamsearch.function_search",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch and diffusers take seconds to import."""
    from importlib import import_module

    if name == "__version__":
        return import_module("importlib.metadata").version("lamsearch")
    if name not in _HOMES:
        raise AttributeError(f"module 'lamsearch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
