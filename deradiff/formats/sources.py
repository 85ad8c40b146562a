"""Where an aligned model lies: a local file or folder, or a repository of the hub, as one view."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from deradiff.options import AnchorError

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)((?:/[\w.=-]+)*)")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Source:
    """A folder, local or on the hub, whose files can be listed and fetched.

    Attributes:
        root: The local folder, or the hub's local snapshot, which may still lack files.
        files: Relative paths of all its files, sorted.
        repository: The hub id, or None for a local folder.
        inner: Path of the folder inside the hub's repository, with a trailing slash, or empty.
    """

    root: Path
    files: tuple[str, ...]
    repository: str | None = None
    inner: str = ""

    def fetch(self, names: Sequence[str]) -> Path:
        """Make files available and return the folder they are relative to."""
        if self.repository is not None:
            snapshot_download(self.repository, allow_patterns=[self.inner + name for name in names])
        return self.root

    def has(self, name: str) -> bool:
        """Return whether the folder has this file."""
        return name in self.files

    def within(self, folder: str) -> Source:
        """Return the view of a sub-folder."""
        start = f"{folder}/"
        inside = tuple(n.removeprefix(start) for n in self.files if n.startswith(start))
        return replace(self, root=self.root / folder, files=inside, inner=self.inner + start)

    def top_level(self) -> list[str]:
        """Return the names of the files that lie directly in the folder."""
        return [name for name in self.files if "/" not in name]

    def newest_checkpoint(self) -> str | None:
        """Return the sub-folder `checkpoint-N` with the greatest N, or None."""
        folders = {name.split("/")[0] for name in self.files if "/" in name}
        found = [match for name in folders if (match := _CHECKPOINT.fullmatch(name))]
        return max(found, key=lambda match: int(match[1]))[0] if found else None


def open_source(location: str) -> Source:
    """Return the view of a local folder, or of a hub id `owner/name` or `owner/name/folder`.

    Raises:
        AnchorError: If there is neither such a folder nor such a repository.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        return Source(path, _files_under(path))
    match = _HUB_ID.fullmatch(location)
    if match is None:
        raise AnchorError("cannot be loaded: it is neither a file nor a folder nor a hub id")
    repository, folder = match[1], match[2].strip("/")
    root = Path(snapshot_download(repository, allow_patterns=["*.json"]))
    try:
        files = tuple(sorted(HfApi().list_repo_files(repository)))
    except (OSError, HfHubHTTPError):  # offline: what the cache holds
        files = _files_under(root)
    source = Source(root, files, repository)
    return source.within(folder) if folder else source


def _files_under(folder: Path) -> tuple[str, ...]:
    """Return the relative paths of the files in a folder, through symbolic links to folders too."""
    found: list[str] = []
    for root, folders, files in os.walk(folder, followlinks=True):
        # A link to a folder that contains it would never end.
        above = {Path(root).resolve(), *Path(root).resolve().parents}
        folders[:] = [name for name in folders if Path(root, name).resolve() not in above]
        paths = (Path(root, name) for name in files)
        found += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    return tuple(sorted(found))
