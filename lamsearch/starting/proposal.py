"""Found models and prompt files → the anchors, rewards and prompts of a settings file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.reward_tables import BUILT_IN_REWARDS
from lamsearch.errors import PromptError
from lamsearch.starting.models import Model

Choose = Callable[[Sequence[str]], str]
"""Locations of several references → the one to take."""

AskBeta = Callable[[str], float | None]
"""Location of an aligned model whose name holds no β → β, or None where nobody knows it."""

_REFERENCE_WORDS = ("reference", "base", "ref")
_HELD_OUT_WORDS = ("heldout", "held_out", "held-out", "validation")
_PROMPT_ENDINGS = (".txt", ".csv", ".tsv", ".json", ".jsonl")
_GENERIC = re.compile(r"unet|transformer|checkpoint-\d+|pytorch_lora_weights|model|output|final")


@dataclass(frozen=True)
class ProposedAnchor:
    """One anchor.

    Attributes:
        name: Name of its table.
        reference: Location of the reference.
        aligned: Location of the aligned model.
        beta: β, None where it is not known.
    """

    name: str
    reference: str
    aligned: str
    beta: float | None


@dataclass(frozen=True)
class Proposal:
    """What a settings file is to hold.

    Attributes:
        anchors: The anchors.
        rewards: Name of a reward → location of its model, None for the published one.
        prompts: File of the prompts, None without one.
        held_out: File of the held-out prompts, likewise.
        other_references: Pipelines that could be the reference too.
    """

    anchors: tuple[ProposedAnchor, ...]
    rewards: dict[str, str | None]
    prompts: str | None = None
    held_out: str | None = None
    other_references: tuple[str, ...] = field(default=())


def propose(
    models: Sequence[Model], prompts: Sequence[Path], choose: Choose, ask_beta: AskBeta
) -> Proposal:
    """Return what a settings file is to hold.

    Args:
        models: What was found.
        prompts: Prompt files.
        choose: Chooses among several references.
        ask_beta: Gives a β that no name says.
    """
    pipelines = [m for m in models if m.kind == "pipeline"]
    references = [m for m in pipelines if m.beta is None] or pipelines[:1]
    anchors: list[ProposedAnchor] = []
    others: tuple[str, ...] = ()
    if references:
        reference = _chosen(references, choose)
        others = tuple(m.location for m in references if m is not reference)
        for model in models:
            if _is_aligned(model, reference):
                beta = model.beta if model.beta is not None else ask_beta(model.location)
                name = _name(model.location, [anchor.name for anchor in anchors])
                anchors.append(ProposedAnchor(name, reference.location, model.location, beta))
    search, held_out = _prompt_files(prompts)
    return Proposal(tuple(anchors), _rewards(models), search, held_out, others)


def find_prompts(folder: Path) -> list[Path]:
    """Return the files of prompts in a folder: by their names, if they can be read as such."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.suffix in _PROMPT_ENDINGS and _is_named(file, ("prompt", *_HELD_OUT_WORDS)):
            try:
                read_prompts(file)
            except PromptError:
                continue
            found.append(file)
    return found


def _chosen(references: Sequence[Model], choose: Choose) -> Model:
    """Return the reference: the one that is called so, else what is chosen."""
    if len(references) == 1:
        return references[0]
    called = [m for m in references if Path(m.location).name.lower() in _REFERENCE_WORDS]
    if len(called) == 1:
        return called[0]
    location = choose([m.location for m in references])
    return next(m for m in references if m.location == location)


def _is_aligned(model: Model, reference: Model) -> bool:
    """Return whether a model may be aligned from the reference, as far as its files say."""
    if model.kind == "lora":
        return True
    if model.kind == "pipeline" and model.beta is None:
        return False
    is_model = model.kind in ("denoiser", "pipeline") and model is not reference
    return is_model and model.architecture == reference.architecture


def _rewards(models: Sequence[Model]) -> dict[str, str | None]:
    """Return the scorers that were found, else the published PickScore."""
    found: dict[str, str | None] = {}
    for model in models:
        name = Path(model.location).name.lower()
        kind = next((kind for kind in BUILT_IN_REWARDS if kind in name), None)
        if model.kind == "scorer" and kind in ("pickscore", "clip", "hps"):
            found.setdefault(kind, model.location)
    return found or {"pickscore": None}


def _prompt_files(files: Sequence[Path]) -> tuple[str | None, str | None]:
    held_out = [f for f in files if _is_named(f, _HELD_OUT_WORDS)]
    search = [f for f in files if f not in held_out]
    if not search:
        return None, None
    return str(search[0]), str(held_out[0]) if held_out else None


def _is_named(file: Path, words: Sequence[str]) -> bool:
    return any(word in file.stem.lower() for word in words)


def _name(location: str, taken: Sequence[str]) -> str:
    """Return the name of an anchor: of its file or folder, or of the folder above it."""
    path = Path(location)
    parts = [path.stem if path.suffix == ".safetensors" else path.name, *reversed(path.parts[:-1])]
    telling = next((p for p in parts if not _GENERIC.fullmatch(p)), "anchor")
    name = re.sub(r"[^\w.+-]+", "-", telling).strip("-.") or "anchor"
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique
