"""A study → its summary: fit, recommend, check the guards, and note the caveats."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from lamsearch.bayesopt.config import FIVE_PERCENT, SearchConfig, Tolerance
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.recommendation import Recommendation, gain, recommend
from lamsearch.errors import StudyError
from lamsearch.report.confirmation import stored_confirmation
from lamsearch.report.notes import (
    answer_notes,
    constant_notes,
    failed_note,
    is_constant,
    no_manifest_note,
    stopped_early,
)
from lamsearch.report.onset import Onset, find_onset
from lamsearch.report.people import peoples_answer
from lamsearch.report.quotes import agreement_note
from lamsearch.report.rows import effective_beta, evaluated_lams
from lamsearch.report.summary import BestObserved, ConstraintCheck, Note, Summary, Within
from lamsearch.report.tracked_rewards import (
    TrackedReward,
    tracked_means,
    tracked_reward,
    tracked_surrogates,
)
from lamsearch.study.database import Study
from lamsearch.study.history import History, merged, score_rows
from lamsearch.study.proposal import Budget
from lamsearch.study.records import Evaluation
from lamsearch.study.urls import redacted_url

_IMAGE_LIMITED = 0.5
"""If only more images can reduce more than this share of the expected loss, they are the limit."""


def summarize(
    study: Study, tolerance: Tolerance | None = None, *, history: History | None = None
) -> Summary:
    """Return the answer of a study, and its confirmation if the database holds one.

    Args:
        study: With at least one finished evaluation.
        tolerance: ε for `Summary.within`, by default 5 % of the curve's range.
        history: What it holds, where that was read already.

    Raises:
        StudyError: If no evaluation is finished.
    """
    if study.is_agreement:
        raise StudyError(
            f"study '{study.name}' is an agreement of a family of anchors: lamsearch show prints "
            "it, lamsearch plot -o FOLDER draws it"
        )
    history, manifest = history or study.history(), study.manifest
    bounds = manifest.get("bounds") or history.bounds or (0.0, 1.0)
    inside = history.within(bounds)
    evaluations = merged(inside.finished)
    if not evaluations:
        raise _without_answer(study, inside)
    config = SearchConfig.from_manifest({"bounds": bounds, **manifest})
    evidence = Evidence.from_evaluations(evaluations, config)
    answer = _answer(evidence, tolerance or FIVE_PERCENT)
    summary = Summary(
        **_answer_fields(answer, config, evaluations=evaluations),
        effective_beta=effective_beta(manifest.get("beta"), answer.lam),
        evaluations=evaluated_lams(
            evaluations,
            evidence.surrogate.observations,
            beta=manifest.get("beta"),
            tracked=tracked_means(evaluations),
        ),
        unfinished=len(history.running),
        anchor=manifest.get("anchor"),
        reward=manifest.get("reward"),
        study=study.name,
        storage=redacted_url(study.storage),
        seconds=sum(e.seconds for e in evaluations),
        others=_tracked(evaluations, config, answer.lam),
        constraint=_constraint_check(evidence, answer.lam),
        confirmation=stored_confirmation(study, answer.lam),
        people=peoples_answer(study.votes(), config, beta=manifest.get("beta")),
        onset=_onset(evaluations, evidence, manifest.get("reward") or "score"),
        notes=(),
        beta=manifest.get("beta"),
        surrogate=evidence.surrogate,
    )
    notes = _notes(summary, evaluations, study=study, failed=failed_note(inside))
    return dataclasses.replace(summary, notes=notes)


def _notes(
    summary: Summary, evaluations: Sequence[Evaluation], *, study: Study, failed: Note | None
) -> tuple[Note, ...]:
    """Return all notes; first that a reward is constant, after which the others say little."""
    constant = constant_notes(evaluations, summary.reward)
    further = failed, agreement_note(study, summary.reward), no_manifest_note(study.manifest)
    return (*constant, *answer_notes(summary), *(note for note in further if note is not None))


def conclude(study: Study, config: SearchConfig, budget: Budget) -> Summary:
    """Return the answer of a search that just ended, saying so if its budget is not used up.

    Raises:
        StudyError: If no evaluation is finished.
    """
    history = study.history()
    summary = summarize(study, config.epsilon, history=history)
    if config.epsilon is None or summary.within.probability < config.confidence:
        return summary
    left = budget.left(history)
    return (
        summary.with_note(stopped_early(left, budget, epsilon=config.epsilon))
        if left > 0
        else summary
    )


def _without_answer(study: Study, history: History) -> StudyError:
    failed = f" ({history.failed[-1].reason})" if history.failed else ""
    return StudyError(f"study '{study.name}' has no finished evaluation yet{failed}: run it first")


def _answer(evidence: Evidence, tolerance: Tolerance) -> Recommendation:
    config = evidence.config
    if config.constraint is not None and evidence.feasible is None:
        name = config.constraint.name
        raise StudyError(f"no score of the constraint's reward '{name}' in the study")
    return recommend(
        evidence.surrogate,
        observed=config.answers_observed,
        tolerance=tolerance,
        feasible=evidence.feasible,
        confidence=config.confidence,
    )


def _answer_fields(
    answer: Recommendation, config: SearchConfig, *, evaluations: Sequence[Evaluation]
) -> dict[str, Any]:
    """Return the summary's fields that are the recommendation's."""
    low, high = config.bounds
    # Nothing helps a reward that is constant.
    by_images = (answer.plan_share or 0) > _IMAGE_LIMITED
    limited_by = "images" if by_images and not is_constant(score_rows(evaluations)) else None
    return {
        "lam": answer.lam,
        "value": answer.value,
        "value_stderr": answer.value_stderr,
        "lam_interval": answer.lam_interval,
        "gain_over_reference": answer.gain_over_reference if low <= 0 <= high else None,
        "gain_over_aligned": answer.gain_over_aligned if low <= 1 <= high else None,
        "within": Within(answer.epsilon, answer.probability, answer.expected_loss),
        "limited_by": limited_by,
        "best_observed": BestObserved(*answer.best_observed),
    }


def _tracked(
    evaluations: Sequence[Evaluation], config: SearchConfig, lam: float
) -> tuple[TrackedReward, ...]:
    surrogates = tracked_surrogates(evaluations, bounds=config.bounds)
    return tuple(tracked_reward(fitted, name, lam) for name, fitted in surrogates.items())


def _onset(evaluations: Sequence[Evaluation], evidence: Evidence, reward: str) -> Onset | None:
    """Return where the images leave the reference's range, if the reward is higher there."""
    onset = find_onset(evaluations, bounds=evidence.config.bounds, objective=reward)
    if onset is None or gain(evidence.surrogate, onset.lam, 0.0).value <= 0:
        return None
    return onset


def _constraint_check(evidence: Evidence, lam: float) -> ConstraintCheck | None:
    constraint, feasible = evidence.config.constraint, evidence.feasible
    if constraint is None or feasible is None:
        return None
    probability = feasible(torch.tensor([lam], dtype=torch.float64)).item()
    return ConstraintCheck(constraint.text, evidence.config.confidence, probability)
