"""The search over a user's own function of λ: check, bind, loop, summarise."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Unpack

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.config.fields import value_text
from lamsearch.config.places import Places
from lamsearch.errors import SettingsError
from lamsearch.evaluation.functions import SCORE, FunctionEvaluation, Scores
from lamsearch.keywords import SearchKeywords, check_keywords
from lamsearch.loop import extrapolating_loop
from lamsearch.plain_text import shown
from lamsearch.report.summarize import conclude
from lamsearch.report.summary import Summary
from lamsearch.study.database import Study
from lamsearch.study.proposal import Budget

_LARGEST_BETA = 1e30


def search(
    evaluate: Callable[[float], Scores],
    beta: float | None = None,
    *,
    budget: int = 12,
    storage: str | None = None,
    study: str | None = None,
    **keywords: Unpack[SearchKeywords],
) -> Summary:
    """Search the λ that maximises your own evaluation.

    Args:
        evaluate: Takes λ and returns one number or a 1-D array of per-image scores, NaN = missing.
            Arrays are paired by position: position i is the same image at every λ, and all
            have one length.
            To track other rewards on the same images, return a mapping: "score" is optimised,
            every other name is reported beside it and may be constrained.
        beta: KL strength β > 0 of the anchor, to report β/λ*; None where there is none, and the
            answer is λ* alone.
        budget: Number of evaluations.
        storage: SQLAlchemy URL of the study database; None keeps it in memory.
        study: Its name; one that exists is resumed.
        **keywords: Options of the search, the fields of `SearchConfig`: bounds, seed, acquisition,
            kernel, recommend, noise, epsilon, constraint, confidence.

    Returns:
        The answer.

    Raises:
        SettingsError: If an argument is out of its range.
        StudyError: If the study exists with other settings.
        EvaluationError: If `evaluate` returns nothing usable; what it raises comes as it is.
    """
    check_keywords("search", keywords, SearchKeywords)
    config = SearchConfig.select({"budget": budget, **keywords})
    guard = config.constraint
    places = Places(study=study, storage=storage)
    if not callable(evaluate):
        raise SettingsError(f"evaluate {shown(evaluate)} given, expected a function of λ")
    _require_strength(beta)
    if guard is not None and guard.name == SCORE:
        raise SettingsError(f"constraint '{guard.text}' is on what is optimised: constrain another")
    opened = Study.create(places.study or "search", places.storage, config.bounds)
    opened.bind(config.manifest(beta))
    required = guard.name if guard else None
    function = FunctionEvaluation(evaluate, required, finished=lambda: opened.history().finished)
    limit = Budget(config.budget)
    extrapolating_loop(opened, function, policy=SearchPolicy(config), budget=limit)
    return conclude(opened, config, limit)


def _require_strength(beta: Any) -> None:
    is_number = isinstance(beta, Real) and not isinstance(beta, bool)
    if beta is not None and not (is_number and 0 < beta <= _LARGEST_BETA):
        given = f"beta {value_text(beta)} given"
        raise SettingsError(f"{given}, expected the anchor's KL strength, a finite number > 0")
