"""What a stored agreement says of a model that is aligned from scratch at another strength."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lamsearch.agreement.analysis import read_agreement
from lamsearch.agreement.results import Emulation
from lamsearch.report.gains import EmulationError
from lamsearch.report.quotes import find_quote
from lamsearch.study.database import Study

_NEAR = 2.0
"""Pairs with λ within this factor of λ* say most about it."""


def stored_emulation_error(study: Study, reward: str | None, lam: float) -> EmulationError | None:
    """Return what the agreement of a study's reference and reward says, None without one.

    Args:
        study: A search.
        reward: Name of its reward.
        lam: λ*, above 0.

    Raises:
        StudyError: If the agreement cannot be read.
    """
    quote = find_quote(study, reward)
    found = None if quote is None else study.find_beside(quote.study)
    if quote is None or found is None:
        return None
    rewards = read_agreement(found).rewards
    emulations = next(each.emulations for each in rewards if each.reward == reward)
    return emulation_error(quote.study, emulations, lam)


def emulation_error(
    name: str, emulations: Sequence[Emulation], lam: float
) -> EmulationError | None:
    """Return the mean and the deviation of the differences of pairs that are like λ*.

    These are pairs on the same side of λ = 1, and near λ* where there are any: extrapolation misses
    by more than interpolation.

    Args:
        name: Name of the agreement.
        emulations: Its pairs of anchors.
        lam: λ*, above 0.
    """
    alike = [each for each in emulations if (each.lam > 1) == (lam > 1)]
    near = [each for each in alike if abs(math.log(each.lam / lam)) <= math.log(_NEAR)]
    differences = np.array([each.difference for each in near or alike])
    if not len(differences):
        return None
    # A single pair says only how large the difference may be.
    deviation = differences.std(ddof=1) if len(differences) > 1 else abs(differences[0])
    mean = differences.mean() if len(differences) > 1 else 0.0
    return EmulationError(name, float(mean), float(deviation), len(differences))
