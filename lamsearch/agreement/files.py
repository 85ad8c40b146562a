"""An agreement → a folder of figures and tables."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lamsearch.agreement.figures import FIGURES, save
from lamsearch.agreement.results import Emulation, FamilyAgreement
from lamsearch.agreement.table import grids, markdown
from lamsearch.errors import SettingsError


def require_writable(folder: Path) -> None:
    """Make the folder.

    Raises:
        SettingsError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot write to {folder}: {error.strerror or error}") from error


def write_files(found: FamilyAgreement, folder: Path) -> None:
    """Write `agreement.md`, `agreement.json`, and per reward its tables as CSV and five figures.

    Raises:
        SettingsError: If a file cannot be written.
    """
    require_writable(folder)
    try:
        (folder / "agreement.md").write_text(report_markdown(found), encoding="utf-8")
        text = json.dumps(found.to_json(), indent=1, allow_nan=False)
        (folder / "agreement.json").write_text(text + "\n", encoding="utf-8")
        stems = _stems([reward.reward for reward in found.rewards])
        for reward, stem in zip(found.rewards, stems, strict=True):
            _write_pairs(reward.emulations, folder / f"{stem}-pairs.csv")
            for grid in grids(reward):
                _write_csv([grid.header, *grid.rows], folder / f"{stem}-{grid.name}.csv")
            for name, draw in FIGURES.items():
                save(draw(reward), folder / f"{stem}-{name}")
    except OSError as error:
        raise SettingsError(f"cannot write to {folder}: {error.strerror or error}") from error


def report_markdown(found: FamilyAgreement) -> str:
    """Return the sentences and tables of every reward as Markdown."""
    parts = [f"# Agreement {found.study}\n"]
    for reward in found.rewards:
        parts += [f"## {reward.reward}\n", f"{reward.sentence}.\n", *map(markdown, grids(reward))]
    parts += [f"Note: {note.text}.\n" for note in found.notes]
    return "\n".join(parts)


def _stems(rewards: Sequence[str]) -> list[str]:
    """Return a name for the files of each reward, all different on any file system."""
    stems = [re.sub(r"[^\w.+-]", "_", reward) for reward in rewards]
    if len({stem.casefold() for stem in stems}) == len(stems):
        return stems
    return [f"{number}-{stem}" for number, stem in enumerate(stems, 1)]


def _write_pairs(emulations: tuple[Emulation, ...], file: Path) -> None:
    names = [field.name for field in dataclasses.fields(Emulation)]
    _write_csv([names, *([getattr(each, name) for name in names] for each in emulations)], file)


def _write_csv(rows: Iterable[Sequence[object]], file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
