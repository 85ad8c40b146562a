"""What a stored agreement says about β/λ, quoted by the searches of the same reference."""

from __future__ import annotations

import time
from collections.abc import Mapping

from lamsearch.report.summary import Note
from lamsearch.study.database import Study
from lamsearch.study.manifest import REFERENCE_FACT

_QUOTES_FACT = "agreement_quotes"


def store_quotes(study: Study, sentences: Mapping[str, str]) -> None:
    """Store what an agreement says, by name of the reward."""
    study.remember(_QUOTES_FACT, {"time": time.time(), "sentences": dict(sentences)})


def agreement_note(study: Study, reward: str | None) -> Note | None:
    """Return the note with the last agreement of the study's reference and reward, if any."""
    reference = study.recall(REFERENCE_FACT)
    if reference is None or reward is None:
        return None
    found = [
        (quotes["time"], name, quotes["sentences"][reward])
        for name, facts in study.facts_of_all().items()
        if facts.get(REFERENCE_FACT) == reference
        and (quotes := facts.get(_QUOTES_FACT)) is not None
        and reward in quotes["sentences"]
    ]
    if not found:
        return None
    _, name, sentence = max(found)
    return Note("agreement", f"β/λ by '{name}': {sentence}")
