"""An Optuna storage that shows another one and refuses every change."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, NoReturn

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from lamsearch.errors import StudyError


class ReadOnlyStorage(BaseStorage):
    """Shows the studies and trials of a storage.

    Args:
        inner: That storage.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self._inner = inner

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return what the storage has."""
        return self._inner.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return what the storage has."""
        return self._inner.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return what the storage has."""
        return self._inner.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what the storage has."""
        return self._inner.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what the storage has."""
        return self._inner.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return what the storage has."""
        return self._inner.get_all_studies()

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return what the storage has."""
        return self._inner.get_trial(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return what the storage has."""
        return self._inner.get_all_trials(study_id, deepcopy=deepcopy, states=states)

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Refuse it."""
        self._refuse()

    def delete_study(self, study_id: int) -> None:
        """Refuse it."""
        self._refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Refuse it."""
        self._refuse()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Refuse it."""
        self._refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Refuse it."""
        self._refuse()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: Any
    ) -> None:
        """Refuse it."""
        self._refuse()

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Refuse it."""
        self._refuse()

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Refuse it."""
        self._refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Refuse it."""
        self._refuse()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Refuse it."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StudyError("the dashboard only shows studies: nothing is changed")
