"""What trackers are told: figures of an evaluation, of the answer, and of the study."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from lamsearch.report.rows import effective_beta
from lamsearch.report.summary import Summary
from lamsearch.report.table import answer_text
from lamsearch.study.records import Evaluation

_PLAIN = (str, int, float, bool)


def evaluation_values(evaluation: Evaluation, beta: float | None) -> dict[str, float]:
    """Return the figures of an evaluation; those that are unknown or infinite are left out.

    The standard error is that of the mean score of these images alone. Comparisons between λs,
    which share their images, are more precise: see the answer.

    Args:
        evaluation: An evaluation that has ended.
        beta: The anchor's β, None where there is none.
    """
    present = [score for score in evaluation.scores.values() if not math.isnan(score)]
    values = {
        "lam": evaluation.lam,
        "effective_beta": effective_beta(beta, evaluation.lam),
        "seconds": evaluation.seconds,
        "images": float(len(evaluation.scores)),
        "missing": float(len(evaluation.scores) - len(present)),
        **_mean_and_error(present),
    }
    for name, scores in evaluation.tracked.items():
        values[f"others/{name}"] = _mean_and_error(
            [score for score in scores.values() if not math.isnan(score)]
        ).get("value")
    return _finite(values)


def answer_values(summary: Summary) -> dict[str, float | str]:
    """Return the answer: its figures, and as `answer/text` its sentences and notes."""
    low, high = summary.lam_interval
    gains = {
        "gain_over_reference": summary.gain_over_reference,
        "gain_over_aligned": summary.gain_over_aligned,
    }
    figures = _finite(
        {
            "answer/lam": summary.lam,
            "answer/lam_low": low,
            "answer/lam_high": high,
            "answer/effective_beta": summary.effective_beta,
            "answer/value": summary.value,
            "answer/value_stderr": summary.value_stderr,
            **{f"answer/{key}": gain.value for key, gain in gains.items() if gain is not None},
        }
    )
    return {**figures, "answer/text": answer_text(summary)}


def study_values(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return those entries of a manifest that are one number or text, and λ's bounds."""
    low, high = manifest.get("bounds", (0.0, 1.0))
    plain = {key: each for key, each in manifest.items() if isinstance(each, _PLAIN)}
    return {**plain, "bounds_low": low, "bounds_high": high}


def _mean_and_error(scores: list[float]) -> dict[str, float]:
    """Return the mean of scores, and from two on its standard error."""
    if not scores:
        return {}
    mean = {"value": sum(scores) / len(scores)}
    if len(scores) < 2:
        return mean
    return {**mean, "stderr": statistics.stdev(scores) / math.sqrt(len(scores))}


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: each for key, each in values.items() if each is not None and math.isfinite(each)}
