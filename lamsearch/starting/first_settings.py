"""Write a first settings file: found models, proposed anchors, a file that loads."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lamsearch.config.settings import Settings, load_settings
from lamsearch.errors import SettingsError
from lamsearch.starting.models import cached_models, find_models
from lamsearch.starting.proposal import AskBeta, Choose, find_prompts, propose
from lamsearch.starting.text import settings_text


def write_first_settings(
    output: Path, folder: Path, *, choose: Choose, ask_beta: AskBeta
) -> Settings:
    """Write a settings file from what a folder and the hub's cache hold, and return it as read.

    Args:
        output: The file, which must not exist.
        folder: Where models and prompts are looked for.
        choose: Chooses among several references.
        ask_beta: Gives a β that no name says.

    Raises:
        SettingsError: If the file exists, or cannot be written.
    """
    if os.path.lexists(output):
        raise SettingsError(f"{output} exists and is not overwritten: name another with -o")
    if not folder.is_dir():
        raise SettingsError(f"folder {folder} given, expected one that exists")
    if not output.absolute().parent.is_dir():
        raise SettingsError(f"cannot write {output}: its folder does not exist; create it first")
    folder = folder.absolute()
    models = [*find_models(folder), *cached_models()]
    proposal = propose(models, find_prompts(folder), choose, ask_beta)
    _write_new(settings_text(proposal, output.absolute().parent), output)
    return load_settings(output)


def _write_new(text: str, output: Path) -> None:
    """Write a new file, once its text was read as settings; one that is there stays."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=output.absolute().parent, prefix=".lamsearch-"
        ) as new:
            new.write(text)
            new.flush()
            load_settings(Path(new.name))
        with output.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise SettingsError(
            f"{output} exists and is not overwritten: name another with -o"
        ) from None
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror or error}") from error
