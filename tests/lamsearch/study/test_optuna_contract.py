"""Optuna's own contract of storages, with the settings of the engine that studies use."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from lamsearch.study.storage import open_storage


class TestSqlite(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return open_storage(f"sqlite:///{tmp_path}/studies.db")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:<psycopg.Connection:ResourceWarning")
class TestPostgres(StorageTestCase):
    @pytest.fixture
    def storage(self, postgres: str) -> Iterator[BaseStorage]:
        yield open_storage(postgres)
        gc.collect()  # the connections of storages that the tests make themselves
