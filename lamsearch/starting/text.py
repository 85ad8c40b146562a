"""A proposal → the text of a settings file, whose comments are the keys' own descriptions."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from lamsearch.config.file_format import AnchorTable, SamplingSettings
from lamsearch.starting.proposal import Proposal, ProposedAnchor

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SAMPLING = {
    "steps": "50",
    "guidance_scale": "7.5",
    "dtype": '"float32"',
    "scheduler": '"EulerAncestralDiscreteScheduler"',
    "height": "512",
    "width": "512",
}
"""Keys that are shown, commented out, each with a value as an example."""

_EXAMPLE = ProposedAnchor("my-anchor", "OWNER/REFERENCE", "PATH-OR-HUB-ID", 500)


def settings_text(proposal: Proposal, folder: Path) -> str:
    """Return the text of a settings file.

    Args:
        proposal: What it is to hold.
        folder: Where the file goes: paths below it are written relative to it.
    """
    return "\n".join(_lines(proposal, folder)) + "\n"


def _lines(proposal: Proposal, folder: Path) -> Iterator[str]:
    yield from _comment(
        "Settings of lamsearch: which anchors, rewards and prompts there are. Check them with "
        "`lamsearch doctor`. A line that begins with # has no effect."
    )
    if proposal.other_references:
        yield from _comment(f"Other pipelines found: {', '.join(proposal.other_references)}")
    if not proposal.anchors:
        yield ""
        yield from _comment("No aligned model and its reference were found: name them here.")
        yield from (f"# {line}" if line else "#" for line in _anchor(_EXAMPLE, folder))
    for number, anchor in enumerate(proposal.anchors):
        yield ""
        yield from _anchor(anchor, folder, explained=number == 0)
    yield ""
    yield from _rewards(proposal, folder)
    yield ""
    yield from _prompts(proposal, folder)


def _anchor(anchor: ProposedAnchor, folder: Path, *, explained: bool = False) -> Iterator[str]:
    def explain(key: str) -> Iterator[str]:
        if explained:
            yield from _comment(_description(AnchorTable, key))

    name = _key(anchor.name)
    yield f"[anchors.{name}]"
    yield from explain("reference")
    yield f"reference = {_location(anchor.reference, folder)}"
    yield from explain("aligned")
    yield f"aligned = {_location(anchor.aligned, folder)}"
    yield from explain("beta")
    if anchor.beta is None:
        yield "# beta = 500  # not known: without it the answer is λ alone"
    else:
        yield f"beta = {anchor.beta:.15g}  # as the name says, or as you did"
    yield ""
    yield f"[anchors.{name}.sampling]"
    if explained:
        for key, value in _SAMPLING.items():
            yield from _comment(_description(SamplingSettings, key))
            yield f"# {key} = {value}"


def _rewards(proposal: Proposal, folder: Path) -> Iterator[str]:
    yield from _comment("Rewards that images are scored by: pickscore, clip, hps, aesthetic, http.")
    for name, model in proposal.rewards.items():
        yield f"[rewards.{name}]"
        if model is None:
            yield "# the published weights, which the first search downloads"
        else:
            yield f"model = {_location(model, folder)}"
            yield f"processor = {_location(model, folder)}"


def _prompts(proposal: Proposal, folder: Path) -> Iterator[str]:
    yield from _comment("Prompts, one per line or in a column; held-out ones are for --confirm.")
    if proposal.prompts is None:
        yield "# [prompts]"
        yield '# file = "prompts.txt"'
        return
    yield "[prompts]"
    yield f"file = {_location(proposal.prompts, folder)}"
    if proposal.held_out is not None:
        yield f"heldout = {_location(proposal.held_out, folder)}"


def _description(table: type[AnchorTable] | type[SamplingSettings], key: str) -> str:
    return str(table.model_fields[key].description)


def _comment(text: str) -> list[str]:
    # One line of a file may hold neither a line break nor another control character.
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return textwrap.wrap(plain, 96, initial_indent="# ", subsequent_indent="# ")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _location(location: str, folder: Path) -> str:
    """Return a location: a path below the folder relative to it, any other path or id as it is."""
    path = Path(location)
    if path.is_absolute() and path.is_relative_to(folder):
        location = Path(os.path.relpath(path, folder)).as_posix()
    return _string(location)


def _string(text: str) -> str:
    # TOML's strings are JSON's, but for the one control character that JSON lets through.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
