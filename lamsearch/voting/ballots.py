"""Ballots: blind pairs that are shown, and votes that come back and are stored at once."""

from __future__ import annotations

import random
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.voting_policy import fit_votes, next_pair
from lamsearch.errors import StudyError
from lamsearch.study.database import Study
from lamsearch.study.gallery import SIZE, Gallery
from lamsearch.study.manifest import KEPT_FACT
from lamsearch.study.votes import Choice, Vote, vote_key

_OPEN = 256
"""Ballots that may be open at once, in all windows: older ones are forgotten."""


class UnknownBallotError(LookupError):
    """A ballot that was not handed out, or was forgotten since."""


@dataclass(frozen=True)
class Ballot:
    """One blind pair.

    Attributes:
        word: Its name, random: it says nothing of the λs.
        image_id: The image of the plan.
        left: λ of the image at the left.
        right: λ of the image at the right.
    """

    word: str
    image_id: int
    left: float
    right: float


class BallotBox:
    """Hands ballots out and stores the votes; threads may share it.

    Args:
        study: The study, open for work.
        kept: Image id → λ → file.
        shuffle: Source of which λ is at the left.

    Raises:
        StudyError: If no image was kept at two λs.
    """

    def __init__(
        self,
        study: Study,
        kept: Mapping[int, Mapping[float, Path]],
        shuffle: random.Random | None = None,
    ) -> None:
        self._study, self._kept = study, kept
        self._shuffle = shuffle or random.SystemRandom()
        require_pairs(study, kept)
        manifest, history = study.manifest, study.history()
        bounds = manifest.get("bounds") or history.bounds or (0.0, 1.0)
        self._config = SearchConfig.from_manifest({"bounds": bounds, **manifest})
        self._prompts = _prompts(study)
        self._open: OrderedDict[str, Ballot] = OrderedDict()
        self._cast: set[str] = set()
        self._lock = threading.Lock()

    def hand_out(self, rater: str) -> Ballot:
        """Return a new ballot with the pair that tells most, given all votes so far."""
        votes = self._study.votes()
        config = self._config
        fitted = fit_votes(votes, bounds=config.bounds, kernel=config.kernel_name)
        lams = {image_id: list(files) for image_id, files in self._kept.items()}
        pair = next_pair(fitted, votes, kept=lams, rater=rater)
        with self._lock:
            left, right = self._shuffle.sample((pair.low, pair.high), 2)
            ballot = Ballot(secrets.token_urlsafe(12), pair.image_id, left, right)
            self._open[ballot.word] = ballot
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return ballot

    def cast(self, word: str, *, choice: Choice, rater: str) -> None:
        """Store the vote on a ballot; a vote that is sent again counts once.

        Raises:
            UnknownBallotError: If the ballot is not an open one.
            StudyError: If the storage fails; the ballot stays open.
        """
        with self._lock:
            if word in self._cast:
                return
            ballot = self._find(word)
            vote = Vote(rater, ballot.image_id, ballot.left, ballot.right, choice, _now())
            self._study.remember(vote_key(word), vote.to_json())
            self._cast.add(word)
            del self._open[word]

    def file(self, word: str, side: str) -> Path:
        """Return the image at the "left" or the "right" of an open ballot.

        Raises:
            UnknownBallotError: If the ballot is not an open one.
        """
        ballot = self._find(word)
        return self._kept[ballot.image_id][ballot.left if side == "left" else ballot.right]

    def prompt(self, ballot: Ballot) -> str | None:
        """Return the prompt of a ballot's image, None where the study does not hold it."""
        known = ballot.image_id < len(self._prompts)
        return self._prompts[ballot.image_id] if known else None

    def count(self, rater: str) -> tuple[int, int]:
        """Return the number of a rater's votes, and of all votes."""
        votes = self._study.votes()
        return sum(vote.rater == rater for vote in votes), len(votes)

    def _find(self, word: str) -> Ballot:
        try:
            return self._open[word]
        except KeyError:
            raise UnknownBallotError(word) from None


def kept_images(study: Study) -> dict[int, dict[float, Path]]:
    """Return the images that a search kept of its finished evaluations: id → λ → file."""
    gallery = Gallery(study.name, study.storage, len(_prompts(study)) or SIZE)
    kept: dict[int, dict[float, Path]] = {}
    for lam in sorted({evaluation.lam for evaluation in study.history().finished}):
        for image_id, file in enumerate(gallery.at(lam)):
            if file is not None:
                kept.setdefault(image_id, {})[lam] = file
    return kept


def require_pairs(study: Study, kept: Mapping[int, Mapping[float, Path]]) -> None:
    """Refuse a study of whose images none was kept at two λs.

    Raises:
        StudyError: If that is so.
    """
    if not any(len(files) > 1 for files in kept.values()):
        raise StudyError(
            f"study '{study.name}' has no image at two λs: `lamsearch run` keeps some beside the "
            "database, continue the search, or put the folder of its images there"
        )


def _prompts(study: Study) -> list[str]:
    """Return the prompts of the kept images, none where an early version kept them."""
    stored: Any = study.recall(KEPT_FACT)
    return list(map(str, stored)) if isinstance(stored, list) else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
