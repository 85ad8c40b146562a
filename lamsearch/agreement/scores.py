"""A stored agreement → its scores: a study per anchor, the same images at every λ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deradiff.agreement import emulating_lam
from lamsearch.errors import StudyError
from lamsearch.study.database import Study
from lamsearch.study.history import merged
from lamsearch.study.manifest import AGREEMENT_FACT, agreement_betas, child_name
from lamsearch.study.records import Evaluation

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class FamilyScores:
    """The scores of a family.

    Attributes:
        betas: β of each anchor by name, ascending.
        images: Images that were requested of every model.
        seconds: Time spent on them.
        pending: Names of anchors that have no scores of their own yet, and are left out.
        evaluations: For each anchor, the finished evaluations by λ.
    """

    betas: Mapping[str, float]
    images: int
    seconds: float
    pending: tuple[str, ...]
    evaluations: Mapping[str, Mapping[float, Evaluation]]

    @classmethod
    def read(cls, study: Study) -> FamilyScores:
        """Read the agreement that a study heads.

        Raises:
            StudyError: If it heads none, or fewer than two anchors have scores of their own.
        """
        head = study.recall(AGREEMENT_FACT)
        if head is None:
            raise StudyError(f"study '{study.name}' is no agreement of a family of anchors")
        members = agreement_betas(study.facts_of_all(), study.name)
        found: dict[str, dict[float, Evaluation]] = {}
        for name in members:
            child = study.find_beside(child_name(study.name, name))
            history = None if child is None else child.history()
            found[name] = {e.lam: e for e in merged(history.finished)} if history else {}
        betas = {name: beta for name, beta in members.items() if 1.0 in found[name]}
        if len(betas) < 2:
            raise StudyError(
                f"agreement '{study.name}' is not finished: fewer than two anchors have scores of "
                "their own yet; run it again to go on, or wait for other workers"
            )
        return cls(
            betas=betas,
            images=head["images"],
            seconds=sum(e.seconds for each in found.values() for e in each.values()),
            pending=tuple(name for name in members if name not in betas),
            evaluations=found,
        )

    @cached_property
    def lams(self) -> Mapping[str, Mapping[str, float]]:
        """For each anchor, the λ of each target by name; its own is 1."""
        betas = self.betas
        return {a: {t: emulating_lam(betas[a], betas[t]) for t in betas} for a in betas}

    def original(self, anchor: str, reward: str | None) -> Scores | None:
        """Return the (images,) scores of an anchor itself; None while there are none."""
        return self.at(anchor, 1.0, reward)

    def reference(self, reward: str | None) -> Scores | None:
        """Return the (images,) scores of the reference; None while there are none."""
        rows = [self.at(anchor, 0.0, reward) for anchor in self.evaluations]
        present = [row for row in rows if row is not None]
        return max(present, key=lambda row: int((~np.isnan(row)).sum()), default=None)

    def at(self, anchor: str, lam: float, reward: str | None) -> Scores | None:
        """Return the (images,) scores of an anchor at a λ, NaN where missing, None without any.

        Args:
            anchor: Name of the anchor.
            lam: λ.
            reward: Name of a tracked reward; None for the first one.
        """
        evaluation = self.evaluations[anchor].get(lam)
        if evaluation is None:
            return None
        given = evaluation.row if reward is None else evaluation.tracked_row(reward)
        row = np.full(self.images, np.nan)
        row[: len(given)] = given[: self.images]
        return None if np.isnan(row).all() else row

    def absent(self) -> Iterator[tuple[str, float]]:
        """Yield the anchors and λs that have not all of their images yet."""
        for anchor, lams in self.lams.items():
            for lam in lams.values():
                found = self.evaluations[anchor].get(lam)
                if found is None or len(found.scores) < self.images:
                    yield anchor, lam
