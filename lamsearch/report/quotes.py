"""What a stored agreement says about β/λ, quoted by the searches of the same reference."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamsearch.report.summary import Note
from lamsearch.study.database import Study
from lamsearch.study.manifest import REFERENCE_FACT, stored_manifest

_QUOTES_FACT = "agreement_quotes"
SAMPLING = (
    "pipeline",
    "scheduler",
    "steps",
    "guidance_scale",
    "negative_prompt",
    "size",
    "dtype",
    "frames",
    "aligned_steps",
)
"""Entries of a manifest that say how images are sampled, whatever the anchor and the plan."""


def store_quotes(study: Study, sentences: Mapping[str, str]) -> None:
    """Store what an agreement says, by name of the reward."""
    study.remember(_QUOTES_FACT, {"time": time.time(), "sentences": dict(sentences)})


@dataclass(frozen=True)
class Quote:
    """What an agreement says to a search.

    Attributes:
        study: Name of the agreement.
        sentence: Its result in words.
        otherwise: Settings with which its images were sampled otherwise.
    """

    study: str
    sentence: str
    otherwise: tuple[str, ...]


def agreement_note(study: Study, reward: str | None) -> Note | None:
    """Return the note with the last agreement of the study's reference and reward, if any.

    It says so if the images were sampled otherwise there.
    """
    quote = find_quote(study, reward)
    if quote is None:
        return None
    differ = ", ".join(quote.otherwise)
    how = f" (sampled there with another setting of {differ})" if differ else ""
    return Note("agreement", f"β/λ by '{quote.study}'{how}: {quote.sentence}")


def find_quote(study: Study, reward: str | None) -> Quote | None:
    """Return what the last agreement of the study's reference and reward says, if any.

    A reward of the same name that is another one is not quoted.
    """
    reference = study.recall(REFERENCE_FACT)
    if reference is None or reward is None:
        return None
    own = study.manifest
    found = [
        (quotes["time"], name, quotes["sentences"][reward], stored_manifest(facts))
        for name, facts in study.facts_of_all().items()
        if facts.get(REFERENCE_FACT) == reference
        and (quotes := facts.get(_QUOTES_FACT)) is not None
        and reward in quotes["sentences"]
        and _reward_facts(stored_manifest(facts), reward) == _reward_facts(own, reward)
    ]
    if not found:
        return None
    _, name, sentence, manifest = max(found, key=lambda each: each[0])
    otherwise = tuple(key for key in SAMPLING if manifest.get(key) != own.get(key))
    return Quote(name, sentence, otherwise)


def _reward_facts(manifest: Mapping[str, Any], reward: str) -> dict[str, Any]:
    """Return what the scores of a reward depend on, whether it is the plain one or one of several.

    Both forms are those that `evaluation.manifest.panel_manifest` writes.
    """
    if manifest.get("reward") == reward:
        prefix = "reward_"
        return {key[len(prefix) :]: manifest[key] for key in manifest if key.startswith(prefix)}
    return dict(manifest.get(f"reward {reward}", {}))
