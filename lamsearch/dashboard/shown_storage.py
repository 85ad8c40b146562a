"""A storage as a dashboard is to see it, and the dashboard's application on it."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

import sqlalchemy
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from lamsearch.dashboard.read_only import ReadOnlyStorage
from lamsearch.dashboard.shown_study import ShownStudy
from lamsearch.dashboard.strips import Strips
from lamsearch.errors import LamsearchError
from lamsearch.study.storage import open_storage


class ShownStorage(ReadOnlyStorage):
    """Shows the studies of lamsearch with metric names, notes, figures, constraints and strips.

    Studies of other programs are shown as they are. Nothing is written.

    Args:
        url: URL of the storage.

    Raises:
        StudyError: If it does not exist or cannot be opened.
    """

    def __init__(self, url: str) -> None:
        super().__init__(open_storage(url, create=False))
        self._url, self.strips = url, Strips()
        self._studies: dict[int, ShownStudy] = {}
        self._study_of: dict[int, int] = {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the stored attributes, and those that are shown."""
        return self._system_attrs(study_id, super().get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies, with the attributes that are shown."""
        studies = []
        for each in super().get_all_studies():
            shown = copy.copy(each)
            shown.system_attrs = self._system_attrs(each._study_id, each.system_attrs)
            studies.append(shown)
        return studies

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial as it is shown."""
        if trial_id not in self._study_of:
            for study in super().get_all_studies():
                self.get_all_trials(study._study_id)
        trials = self.get_all_trials(self._study_of[trial_id])
        return next(trial for trial in trials if trial._trial_id == trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials of a study as they are shown."""
        stored = super().get_all_trials(study_id, deepcopy=deepcopy)
        self._study_of |= {trial._trial_id: study_id for trial in stored}
        shown = self._shown(study_id)
        trials = stored if shown is None else shown.trials(stored)
        return [trial for trial in trials if states is None or trial.state in states]

    def _system_attrs(self, study_id: int, stored: dict[str, Any]) -> dict[str, Any]:
        shown = self._shown(study_id)
        # A note that somebody wrote in a dashboard stays.
        return stored if shown is None else {**shown.system_attrs(), **stored}

    def _shown(self, study_id: int) -> ShownStudy | None:
        """Return how a study of lamsearch is shown, None for one of another program."""
        if study_id not in self._studies:
            name = self.get_study_name_from_id(study_id)
            try:
                shown = ShownStudy(name, self._inner, self._url, self.strips)
            except (LamsearchError, sqlalchemy.exc.SQLAlchemyError):
                return None
            self._studies[study_id] = shown
        return self._studies[study_id]


def application(url: str) -> Any:
    """Return the dashboard of a storage as a WSGI application.

    Raises:
        StudyError: If the storage does not exist or cannot be opened.
        LamsearchError: If optuna-dashboard is not installed.
    """
    try:
        import optuna_dashboard
    except ModuleNotFoundError as error:
        raise LamsearchError(
            f"the dashboard needs the package {error.name}: pip install 'lamsearch[dashboard]'"
        ) from error
    storage = ShownStorage(url)
    return optuna_dashboard.wsgi(storage, artifact_store=storage.strips)
