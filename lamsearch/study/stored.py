"""A stored study as anybody may read it: its facts, its manifest and its history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lamsearch.errors import StudyError, TakenOverError, first_line
from lamsearch.study.faults import DAMAGE, OpenedFile, damage, storage_faults
from lamsearch.study.history import History
from lamsearch.study.leases import LeaseLostError
from lamsearch.study.manifest import AGREEMENT_FACT, read_manifest
from lamsearch.study.records import PARAMETER, Evaluation, is_number
from lamsearch.study.storage import open_storage
from lamsearch.study.urls import database_file, redacted_url
from lamsearch.study.votes import Vote, stored_votes

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound="StoredStudy")


def guarded(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], _R]:
    """Let a method raise the faults of the storage as one line each."""

    @wraps(method)
    def with_faults(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self._faults():
            return method(self, *args, **kwargs)

    return with_faults


class StoredStudy:
    """One study of a database, to read; see `open`."""

    def __init__(
        self,
        study: optuna.Study,
        database: BaseStorage,
        url: str | None,
    ) -> None:
        self.name, self.storage = study.study_name, url
        self._study, self._database = study, database
        if not isinstance(self.name, str):
            raise StudyError(
                f"a study in {redacted_url(url)} has no text as its name: it is damaged"
            )
        if study.directions != [StudyDirection.MAXIMIZE]:
            raise StudyError(
                f"study '{self.name}' in {redacted_url(url)} does not maximise one value: expected "
                "scores of which more is better, in a study of lamsearch"
            )
        self._file, self._ended = OpenedFile(database_file(url)), dict[int, Evaluation]()

    @staticmethod
    def names(storage: str | None) -> list[str]:
        """Return the names of all studies of an existing storage.

        Raises:
            StudyError: If the storage does not exist or cannot be opened.
        """
        with damage(storage):
            names = optuna.get_all_study_names(open_storage(storage, create=False))
            return sorted(name for name in names if isinstance(name, str))  # else it is damage

    @classmethod
    def open(cls, name: str, storage: str | None) -> Self:
        """Open an existing study to read it; nothing is created.

        Raises:
            StudyError: If the storage or the study does not exist, or is not one of lamsearch.
        """
        database = open_storage(storage, create=False)
        with damage(storage):
            try:
                study = optuna.load_study(study_name=name, storage=database)
            except KeyError:
                known = ", ".join(map(str, optuna.get_all_study_names(database))) or "none"
                where = redacted_url(storage)
                raise StudyError(f"no study '{name}' in {where}: it has {known}") from None
            return cls(study, database, storage)

    @guarded
    def find_beside(self, name: str) -> Self | None:
        """Return another study of the same database to read, None where there is none."""
        with damage(self.storage):
            if name not in optuna.get_all_study_names(self._database):
                return None
            study = optuna.load_study(study_name=name, storage=self._database)
        return type(self)(study, self._database, self.storage)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the study's scores depend on, as `bind` stored it."""
        with self._faults(), damage(self.storage):
            return read_manifest(self._study)

    @guarded
    def recall(self, key: str) -> Any:
        """Return a stored fact, None where there is none."""
        return self._facts().get(key)

    @guarded
    def votes(self) -> list[Vote]:
        """Return people's votes on the study's images, in the order of their times.

        Raises:
            StudyError: If one is damaged.
        """
        try:
            return stored_votes(self._facts())
        except ValueError as error:
            raise self._damaged(error) from error

    @property
    def is_agreement(self) -> bool:
        """Whether the study heads the agreement of a family of anchors."""
        return self.recall(AGREEMENT_FACT) is not None

    @guarded
    def facts_of_all(self) -> dict[str, Mapping[str, Any]]:
        """Return the facts of every study in the database, by name of the study."""
        with damage(self.storage):
            return {each.study_name: each.user_attrs for each in self._database.get_all_studies()}

    @guarded
    def history(self) -> History:
        """Read all trials, once; those that have ended are read from the database only once.

        Raises:
            StudyError: If it is another study than one of λ, or damaged.
        """
        try:
            trials = self._study.get_trials(deepcopy=False)
            return History(tuple(map(self._evaluation, trials)), number=len(trials))
        except DAMAGE as error:
            raise self._damaged(error) from error

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Raise the faults of the storage, and the loss of an evaluation, as one line each."""
        with storage_faults(self.storage):
            self._file.require_present()
            try:
                yield
            except LeaseLostError:
                raise TakenOverError(
                    f"another worker has taken an evaluation of study '{self.name}' over: start "
                    "again to continue with the others"
                ) from None

    def _facts(self) -> Mapping[str, Any]:
        """Return the study's facts by name, which damage may have made something else than text."""
        with damage(self.storage):
            facts = self._study.user_attrs
        if not all(isinstance(key, str) for key in facts):
            raise self._damaged(TypeError("the name of a fact is no text"))
        return facts

    def _damaged(self, error: Exception) -> StudyError:
        return StudyError(
            f"study '{self.name}' in {redacted_url(self.storage)} is damaged "
            f"({first_line(error)}): restore a copy of the database, or start a new study"
        )

    def _evaluation(self, trial: FrozenTrial) -> Evaluation:
        if trial.number in self._ended:
            return self._ended[trial.number]
        if trial.state == TrialState.COMPLETE and not is_number(trial.params.get(PARAMETER)):
            given = ", ".join(trial.params) or "no parameter"
            raise StudyError(
                f"study '{self.name}' has {given} in trial {trial.number}, expected a number "
                f"'{PARAMETER}': it is not a search of λ"
            )
        evaluation = Evaluation.from_trial(trial)
        if trial.state.is_finished():
            self._ended[trial.number] = evaluation
        return evaluation
