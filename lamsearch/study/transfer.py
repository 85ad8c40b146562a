"""Studies moved as files of JSON lines: to keep, into another database, or back after a fault."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from lamsearch.errors import SettingsError, StudyError, first_line
from lamsearch.study.faults import DAMAGE, storage_faults
from lamsearch.study.leases import Leases
from lamsearch.study.lines import StudyLines, read_lines, study_lines
from lamsearch.study.manifest import bind_manifest, stored_manifest
from lamsearch.study.storage import open_storage
from lamsearch.study.stored import StoredStudy

_BELONGS = ("confirms", "agreement")
"""Entries of a manifest that name the study that this one belongs to."""


def export_study(study: StoredStudy) -> Iterator[str]:
    """Yield a study, its confirmations and the parts of an agreement, as lines.

    Raises:
        StudyError: If the storage fails, or the study is damaged.
    """
    facts = study.facts_of_all()
    belonging = [
        name
        for name, each in facts.items()
        if study.name in (stored_manifest(each).get(key) for key in _BELONGS)
    ]
    for name in (study.name, *belonging):
        found = study.find_beside(name)
        if found is not None:
            yield from _lines(found)


def _lines(study: StoredStudy) -> Iterator[str]:
    with storage_faults(study.storage):
        try:
            yield from study_lines(study._study)
        except DAMAGE as error:
            raise study._damaged(error) from error


def write_lines(lines: Iterable[str], file: Path) -> int:
    """Write lines into a file, whole or not at all, and return their number.

    Raises:
        SettingsError: If it cannot be written.
    """
    partial = file.with_name(f".{file.name[:64]}-{secrets.token_hex(4)}")
    count = 0
    try:
        with partial.open("x", encoding="utf-8") as opened:
            for line in lines:
                opened.write(line + "\n")
                count += 1
        partial.replace(file)
    except OSError as error:
        raise SettingsError(f"cannot write {file}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def import_studies(file: Path, storage: str) -> list[str]:
    """Put the studies of a file into a database; what is there already stays.

    Of a study that is there, trials and batches that it lacks are added.

    Returns:
        The names of the studies.

    Raises:
        StudyError: If the file is damaged, in which case nothing is imported; if the database holds
            a study of a name with another manifest or other trials; or if a worker is at one.
    """
    found = read_lines(file)
    database = open_storage(storage)
    with storage_faults(storage):
        known = optuna.get_all_study_names(database)
        for each in found:
            if each.name not in known:
                _require_begin(each, 0)
        for each in found:
            try:
                _import(each, database)
            except ValueError as error:  # such as another distribution than the study's
                raise StudyError(f"study '{each.name}': {first_line(error)}") from error
    return [each.name for each in found]


def _import(given: StudyLines, database: BaseStorage) -> None:
    study = optuna.create_study(
        study_name=given.name, storage=database, direction="maximize", load_if_exists=True
    )
    with Leases(database, "study").exclusive(study._study_id):
        if manifest := stored_manifest(given.facts):
            bind_manifest(study, manifest)
        for key in given.facts.keys() - study.user_attrs.keys():
            study.set_user_attr(key, given.facts[key])
        stored = study.get_trials(deepcopy=False)
        _require_begin(given, len(stored))
        for trial in given.trials.values():
            if trial.number < len(stored):
                _merge(trial, stored[trial.number], database, study.study_name)
            else:
                database.create_new_trial(study._study_id, template_trial=trial)


def _require_begin(given: StudyLines, stored: int) -> None:
    """Refuse trials that would follow others that the study does not have."""
    first = min(given.trials, default=0)
    if first > stored:
        raise StudyError(
            f"study '{given.name}' has {stored} trials, and the file starts with trial {first}: "
            "import the earlier ones first"
        )


def _merge(given: FrozenTrial, stored: FrozenTrial, database: BaseStorage, study: str) -> None:
    """Add to a stored trial the attributes that it lacks, and the end if only the file has it."""
    if given.params != stored.params:
        raise StudyError(
            f"trial {given.number} of study '{study}' has {stored.params}, in the file "
            f"{given.params}: import it into another database"
        )
    if stored.state.is_finished():
        return
    leases, trial_id = Leases(database), stored._trial_id
    if not leases.claim(trial_id):
        raise StudyError(f"a worker is at study '{study}': stop it, and import again")
    try:
        for key in given.user_attrs.keys() - stored.user_attrs.keys():
            database.set_trial_user_attr(trial_id, key, given.user_attrs[key])
        if given.state.is_finished():
            database.set_trial_state_values(trial_id, given.state, given.values)
    finally:
        leases.release(trial_id)
