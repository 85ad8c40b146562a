"""The search over a user's own function of λ: check, bind, loop, summarise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.errors import SettingsError
from lamsearch.evaluation.functions import SCORE, FunctionEvaluation, Scores
from lamsearch.keywords import SearchKeywords, check_keywords
from lamsearch.loop import search_loop
from lamsearch.report.summarize import conclude
from lamsearch.report.summary import Summary
from lamsearch.study.database import Study
from lamsearch.study.proposal import Budget


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
            Arrays of one length are paired by position: position i is the same image at every λ.
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
        EvaluationError: If `evaluate` returns nothing usable.
    """
    check_keywords("search", keywords, SearchKeywords)
    config = SearchConfig.select({"budget": budget, **keywords})
    guard = config.constraint
    if beta is not None and not beta > 0:
        raise SettingsError(f"beta {beta} given, expected the anchor's KL strength, > 0")
    if guard is not None and guard.name == SCORE:
        raise SettingsError(f"constraint '{guard.text}' is on what is optimised: constrain another")
    opened = Study.create(study or "search", storage, config.bounds)
    opened.bind(config.manifest(beta))
    function = FunctionEvaluation(evaluate, guard.name if guard else None)
    limit = Budget(config.budget)
    search_loop(opened, function, policy=SearchPolicy(config), budget=limit)
    return conclude(opened, config, limit)
