"""Studies as JSON lines: one line with a study's name and facts, then one line per trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState

from lamsearch.errors import StudyError, first_line
from lamsearch.plain_text import shortened
from lamsearch.study.faults import DAMAGE
from lamsearch.study.records import Evaluation
from lamsearch.study.votes import stored_votes
from lamsearch.text_files import read_text_file

FORMAT = 1
"""Version of the lines."""

_HEAD = "lamsearch_study"
_LARGEST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class StudyLines:
    """One study of a file.

    Attributes:
        name: Its name.
        facts: Its facts, the manifest among them.
        trials: Its trials by number.
    """

    name: str
    facts: Mapping[str, Any]
    trials: dict[int, FrozenTrial] = field(default_factory=dict)


def study_lines(study: optuna.Study) -> Iterator[str]:
    """Yield one study as lines."""
    yield head_line(study.study_name, study.user_attrs)
    yield from map(trial_line, study.get_trials(deepcopy=False))


def head_line(name: str, facts: Mapping[str, Any]) -> str:
    """Return the line that begins a study."""
    return json.dumps({_HEAD: FORMAT, "name": name, "facts": dict(facts)})


def trial_line(trial: FrozenTrial) -> str:
    """Return the line of a trial."""
    times = (trial.datetime_start, trial.datetime_complete)
    began, ended = (None if time is None else time.isoformat() for time in times)
    ranges = {key: distribution_to_json(each) for key, each in trial.distributions.items()}
    return json.dumps(
        {
            "trial": trial.number,
            "state": trial.state.name,
            "value": trial.value,
            "params": trial.params,
            "ranges": ranges,
            "attributes": trial.user_attrs,
            "system": trial.system_attrs,
            "began": began,
            "ended": ended,
        }
    )


def read_lines(file: Path) -> list[StudyLines]:
    """Read the studies of a file.

    Raises:
        StudyError: If it cannot be read; the message names the line.
    """
    studies: list[StudyLines] = []
    text = read_text_file(file, largest=_LARGEST_BYTES, error=StudyError)
    # Not splitlines(): it also splits where a string holds U+2028.
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, start=1):
        try:
            _read_line(line, studies)
        except DAMAGE as error:
            raise StudyError(
                f"{file}, line {number}: {shortened(first_line(error), 200)}: expected a file that "
                "lamsearch export-study wrote"
            ) from error
    if not studies:
        raise StudyError(f"{file} is empty: expected a file that lamsearch export-study wrote")
    return studies


def _read_line(line: str, studies: list[StudyLines]) -> None:
    values = json.loads(line)
    if _HEAD in values:
        if values[_HEAD] != FORMAT:
            raise ValueError(f"format {values[_HEAD]!r:.20} given, expected {FORMAT}")
        name, facts = values["name"], values["facts"]
        if not isinstance(name, str) or not isinstance(facts, dict):
            raise TypeError("a study without a name or facts")
        name.encode()  # a lone surrogate cannot be stored
        stored_votes(facts)
        studies.append(StudyLines(name, facts))
        return
    if not studies:
        raise ValueError("no study")
    trial, trials = _trial(values), studies[-1].trials
    Evaluation.from_trial(trial)
    if type(trial.number) is not int or trial.number < 0:
        raise TypeError(f"trial {trial.number!r:.20} given, expected a number")
    if trials and trial.number != max(trials) + 1:
        raise ValueError(f"trial {trial.number} given, expected {max(trials) + 1}")
    for first in list(trials.values())[:1]:
        for key in trial.distributions.keys() & first.distributions.keys():
            check_distribution_compatibility(first.distributions[key], trial.distributions[key])
    trials[trial.number] = trial


def _trial(values: Mapping[str, Any]) -> FrozenTrial:
    times = (values["began"], values["ended"])
    began, ended = (None if each is None else datetime.fromisoformat(each) for each in times)
    trial = FrozenTrial(
        number=values["trial"],
        state=TrialState[values["state"]],
        value=values["value"],
        datetime_start=began,
        datetime_complete=ended,
        params=dict(values["params"]),
        distributions={key: json_to_distribution(each) for key, each in values["ranges"].items()},
        user_attrs=dict(values["attributes"]),
        system_attrs=dict(values["system"]),
        intermediate_values={},
        trial_id=-1,
    )
    trial._validate()
    return trial
