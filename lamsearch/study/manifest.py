"""The manifest: what the scores of a study depend on, which a resume is held to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from lamsearch.errors import StudyError
from lamsearch.plain_text import shown

_KEY = "manifest"

AGREEMENT_FACT = "agreement_members"
"""Fact of a study that heads an agreement, outside of its manifest: its number of images."""

KEPT_FACT = "kept_prompts"
"""Fact of a study: the prompts of the images that its gallery keeps, in the order of the plan."""

COMMAND_FACT = "command"
"""Fact of a study: the words of the command line that reproduces its last run."""

EXPORTS_FACT = "exports"
"""Fact of a study: what its exports were measured to earn against the mixture."""

REFERENCE_FACT = "reference"
"""Fact of a study: the digest of its reference's weights."""


def child_name(study: str, anchor: str) -> str:
    """Return the name of the study that holds an anchor's part of an agreement."""
    return f"{study}/{anchor}"


def agreement_betas(facts: Mapping[str, Mapping[str, Any]], study: str) -> dict[str, float]:
    """Return β of every anchor that has a part in an agreement, by name, ascending.

    Each part says so itself: workers that add anchors at the same time share no list.

    Args:
        facts: The facts of all studies of the database, by name of the study.
        study: Name of the study that heads the agreement.
    """
    manifests = map(stored_manifest, facts.values())
    parts = [manifest for manifest in manifests if manifest.get("agreement") == study]
    betas = {part["anchor"]: part["beta"] for part in parts}
    return dict(sorted(betas.items(), key=lambda item: item[1]))


def stored_manifest(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest among a study's facts, empty where there is none or a damaged one."""
    manifest = facts.get(_KEY)
    return manifest if isinstance(manifest, dict) else {}


def read_manifest(study: optuna.Study) -> dict[str, Any]:
    """Return the stored manifest, empty where there is none.

    Raises:
        StudyError: If it is no JSON object.
    """
    stored = study.user_attrs.get(_KEY, {})
    if not isinstance(stored, dict):
        raise StudyError(f"study '{study.study_name}' has a damaged manifest: {shown(stored)}")
    return dict(stored)


def bind_manifest(study: optuna.Study, manifest: Mapping[str, Any]) -> None:
    """Store the manifest of a new study; hold an existing study to its own.

    Raises:
        StudyError: If the study has another manifest, and the message shows the differences; or if
            it has trials and no manifest, so that another program began it.
    """
    # Compared as JSON gives it back: tuples become lists, keys strings.
    given = json.loads(json.dumps(manifest))
    begun = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
    stored = read_manifest(study)
    if not stored and begun:
        raise StudyError(
            f"study '{study.study_name}' has {len(begun)} trials and no manifest: another program "
            "began it, or the manifest was removed; name a new study with --study"
        )
    if not stored:
        study.set_user_attr(_KEY, given)
    elif stored != given:
        differences = list(_differences(stored, given))
        raise StudyError(
            f"study '{study.study_name}' was started with other settings "
            f"({'; '.join(differences)}): resume with those, or name a new study with --study"
        )


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs, key by key, also within tables."""
    for key in sorted({*stored, *given}):
        before, now = stored.get(key), given.get(key)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            yield from (f"{key}.{each}" for each in _differences(before, now))
        else:
            yield f"{key} was {shown(before)}, is {shown(now)}"
