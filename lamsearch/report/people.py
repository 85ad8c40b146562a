"""People's λ* as plain data: what their votes on the study's images say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.people import favourite
from lamsearch.bayesopt.voting_policy import fit_votes
from lamsearch.report.json_form import NOT_JSON
from lamsearch.report.rows import effective_beta
from lamsearch.study.votes import Vote
from lamsearch.surrogate.preference import PreferenceSurrogate


@dataclass(frozen=True)
class People:
    """What people prefer, from votes on pairs of the study's kept images.

    Attributes:
        lam: λ that people like best, the argmax of the posterior mean of their utility.
        effective_beta: β/λ there; infinite at λ = 0, None where there is no β.
        lam_interval: Its 95 % interval, for these images and raters, under the model.
        votes: Number of votes.
        ties: How many of them saw no difference.
        raters: Number of people who voted, by their names.
        surrogate: Their utility over λ.
    """

    lam: float
    effective_beta: float | None
    lam_interval: tuple[float, float]
    votes: int
    ties: int
    raters: int
    surrogate: PreferenceSurrogate = field(repr=False, compare=False, metadata=NOT_JSON)


def peoples_answer(
    votes: Sequence[Vote], config: SearchConfig, *, beta: float | None
) -> People | None:
    """Return what people prefer, None where nobody voted.

    Args:
        votes: All votes of a study.
        config: Its bounds and kernel.
        beta: The anchor's β, None where there is none.
    """
    if not votes:
        return None
    fitted = fit_votes(votes, bounds=config.bounds, kernel=config.kernel_name)
    answer = favourite(fitted)
    return People(
        lam=answer.lam,
        effective_beta=effective_beta(beta, answer.lam),
        lam_interval=answer.lam_interval,
        votes=len(votes),
        ties=sum(vote.preferred is None for vote in votes),
        raters=len({vote.rater for vote in votes}),
        surrogate=fitted,
    )
