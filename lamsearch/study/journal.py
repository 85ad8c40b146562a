"""Scores that the storage does not take any more, written beside it so that none is lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lamsearch.study.batches import Batch
from lamsearch.study.lines import head_line, trial_line
from lamsearch.study.records import IMAGES_KEY, PARAMETER, Evaluation


def save_aside(
    study: optuna.Study, database: Path | None, *, evaluation: Evaluation, batch: Batch
) -> str:
    """Write a study as far as it can be read, and the batch that could not be stored.

    The file is one that `lamsearch import` reads. It goes beside the database, else into the
    working directory, else among the temporary files.

    Args:
        study: The study.
        database: The absolute path of its file, None where it has none.
        evaluation: What the batch belongs to.
        batch: What could not be stored.

    Returns:
        Where it is, as the end of an error message.
    """
    lines = list(_lines(study, evaluation, batch))
    beside = [] if database is None else [database.parent]
    # Random, since processes on several machines can have one number and share a folder.
    word = secrets.token_hex(4)
    name = f"lamsearch-journal-{time.strftime('%Y%m%d-%H%M%S')}-{word}.jsonl"
    storage = "" if database is None else f" --storage {shlex.quote(f'sqlite:///{database}')}"
    for folder in (*beside, Path.cwd(), Path(tempfile.gettempdir())):
        file = folder / name
        if _is_written(file, lines):
            command = f"lamsearch import {shlex.quote(str(file))}{storage}"
            return f"what was scored is in {file}: {command}"
    return f"the {len(batch.image_ids)} scores in hand could not be written anywhere and are lost"


def _is_written(file: Path, lines: Sequence[str]) -> bool:
    """Write a new file, whole or not at all."""
    try:
        opened = file.open("x", encoding="utf-8")
    except OSError:
        return False
    try:
        with opened:
            opened.writelines(f"{line}\n" for line in lines)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            file.unlink()
        return False
    return True


def _lines(study: optuna.Study, evaluation: Evaluation, batch: Batch) -> Iterator[str]:
    try:
        facts, trials = study.user_attrs, study.get_trials()
    except (SQLAlchemyError, OptunaError):  # only what is in hand, then
        facts, trials = {}, [_as_trial(evaluation)]
    yield head_line(study.study_name, facts)
    for trial in trials:
        if trial.number == evaluation.number and not trial.state.is_finished():
            trial.user_attrs[batch.key(evaluation.attempt)] = batch.to_json()
        yield trial_line(trial)


def _as_trial(evaluation: Evaluation) -> FrozenTrial:
    images = {} if evaluation.images is None else {IMAGES_KEY: evaluation.images}
    low, high = evaluation.bounds or (evaluation.lam, evaluation.lam)
    return FrozenTrial(
        number=evaluation.number,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params={PARAMETER: evaluation.lam},
        distributions={PARAMETER: FloatDistribution(low, high)},
        user_attrs=dict(images),
        system_attrs={},
        intermediate_values={},
        trial_id=-1,
    )
