"""Whether a storage keeps what is committed to it; nothing is created."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lamsearch.doctor.check import Check
from lamsearch.doctor.machine import can_write, existing
from lamsearch.study.sqlite_files import check_file
from lamsearch.study.storage import open_storage
from lamsearch.study.stored import StoredStudy
from lamsearch.study.urls import database_file, is_in_memory, parse_url, redacted_url


def storage_checks(url: str) -> Iterator[Check]:
    """Check a storage: that it opens, is sound, can be written, and is no network folder.

    Raises:
        StudyError: If it is none of these; the message says what to do.
    """
    shown = redacted_url(url)
    if is_in_memory(url):
        yield Check("storage", "warning", f"{shown}: in memory, lost when the process ends")
        return
    parse_url(url)
    file = database_file(url)
    if file is None:
        open_storage(url, create=False)
        yield Check("storage", "ok", f"{shown}: connected, {_studies(url)}")
        return
    check_file(file, create=True)  # refuses a file system of several machines, too
    yield _sqlite(file, url)


def _sqlite(file: Path, url: str) -> Check:
    shown = redacted_url(url)
    folder = existing(file.parent)
    if not can_write(folder):
        text = f"{shown}: nothing can be written in {folder}: make it writable, or use --storage"
        return Check("storage", "wrong", text)
    if not file.exists():
        return Check("storage", "ok", f"{shown}: not there yet; its folder can be written")
    if not os.access(file, os.W_OK):
        return Check("storage", "wrong", f"{shown}: cannot be written: change its permissions")
    return Check("storage", "ok", f"{shown}: sound, on a local disk, {_studies(url)}")


def _studies(url: str) -> str:
    count = len(StoredStudy.names(url))
    return f"{count} {'study' if count == 1 else 'studies'}"
