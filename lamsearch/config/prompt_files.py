"""Prompt files → the image plan: which prompt and which seed every image id has.

The plan is fixed for a study (common random numbers): image i has the same prompt and the same
seed at every λ, and in a plan of more images too.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamsearch.errors import PromptError

GROWING = 1024
"""Least images of a plan that may grow, and those that its hash stands for."""

PROMPT_FIELDS = ("prompt", "caption", "text")


@dataclass(frozen=True)
class PlannedImage:
    """One image of a study.

    Attributes:
        image_id: position in the plan, from 0.
        prompt: what it shall show.
        seed: of its `torch.Generator`, in [0, 2⁶³).
    """

    image_id: int
    prompt: str
    seed: int


def image_plan(prompts: Sequence[str], images: int, seed: int) -> tuple[PlannedImage, ...]:
    """Returns the plan of `images` images; a smaller plan is a prefix of a larger one.

    The prompts are used in an order shuffled by `seed`, and again from the start once all are
    used. Orders and seeds come from SHA-256, so they are the same on every platform and version.

    Raises:
        PromptError: there are no prompts, or `images` is below 1.
    """
    if not prompts:
        raise PromptError("no prompts given, expected at least one")
    if images < 1:
        raise PromptError(f"{images} images asked for, expected at least 1")
    order = sorted(range(len(prompts)), key=lambda index: _draw("prompt order", seed, index))
    return tuple(
        PlannedImage(image_id, prompts[order[image_id % len(order)]], _image_seed(seed, image_id))
        for image_id in range(images)
    )


def held_out_plan(
    plan: Sequence[PlannedImage], prompts: Sequence[str], images: int, *, seed: int
) -> tuple[PlannedImage, ...]:
    """Returns a plan of `images` images with those of the prompts that `plan` does not use.

    Its image seeds are others than those of `image_plan(..., seed)`.

    Raises:
        PromptError: `plan` uses all the prompts, or `images` is below 1.
    """
    used = {image.prompt for image in plan}
    unseen = [prompt for prompt in dict.fromkeys(prompts) if prompt not in used]
    if not unseen:
        given = f"all its {len(set(prompts))} prompts are"
        raise PromptError(f"{given} among the {len(used)} of the search")
    return image_plan(unseen, images, int.from_bytes(_draw("held-out plan", seed, 0)[:8], "big"))


def plan_hash(plan: Sequence[PlannedImage]) -> str:
    """Returns the SHA-256 of a plan, as 64 hexadecimal digits."""
    rows = [[image.image_id, image.prompt, image.seed] for image in plan]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _image_seed(seed: int, image_id: int) -> int:
    return int.from_bytes(_draw("image seed", seed, image_id)[:8], "big") >> 1


def _draw(purpose: str, seed: int, index: int) -> bytes:
    return hashlib.sha256(f"lamsearch {purpose} {seed} {index}".encode()).digest()


def read_prompts(path: Path) -> list[str]:
    """Reads the prompts of a file, in its order, surrounding white space removed.

    - `.txt`: one a line; blank lines, and nothing else, are skipped.
    - `.jsonl`: a string a line, or an object with `prompt`, `caption` or `text`.
    - `.csv`: the column `prompt`, `caption` or `text`, whichever comes first in this list.

    UTF-8, with or without a byte order mark.

    Raises:
        PromptError: the file is missing, empty, of another kind, or has a malformed line.
    """
    readers: dict[str, Callable[[str, Path], list[str]]]
    readers = {".txt": _from_txt, ".jsonl": _from_jsonl, ".csv": _from_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise PromptError(f"{path}: '{path.suffix}' given, expected one of {', '.join(readers)}")
    prompts = reader(_text_of(path), path)
    if not prompts:
        raise PromptError(f"{path}: no prompts in it, expected at least one")
    return prompts


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PromptError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _numbered_lines(text: str) -> list[tuple[int, str]]:
    # not splitlines(): a prompt may hold U+2028, which is no end of line
    lines = [line.strip() for line in text.split("\n")]
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def _from_txt(text: str, path: Path) -> list[str]:
    return [line for _, line in _numbered_lines(text)]


def _from_jsonl(text: str, path: Path) -> list[str]:
    prompts = []
    for number, line in _numbered_lines(text):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise PromptError(f"{path}:{number}: not valid JSON: {error}") from error
        if isinstance(value, dict):
            value = next((value[name] for name in PROMPT_FIELDS if name in value), None)
        prompts.append(_checked(value, path, number=number))
    return prompts


def _from_csv(text: str, path: Path) -> list[str]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    prompts = []
    try:
        column = next((name for name in PROMPT_FIELDS if name in (reader.fieldnames or ())), None)
        if column is None:
            raise PromptError(f"{path}:1: no column {', '.join(PROMPT_FIELDS)}; name one so")
        for row in reader:
            if None in row:
                raise PromptError(
                    f"{path}:{reader.line_num}: more fields than columns; quote commas"
                )
            prompts.append(_checked(row[column], path, number=reader.line_num))
    except csv.Error as error:
        raise PromptError(f"{path}:{reader.reader.line_num}: not valid CSV: {error}") from error
    return prompts


def _checked(value: Any, path: Path, *, number: int) -> str:
    if not isinstance(value, str) or not value.strip():
        expected = f"expected a text, or an object with {', '.join(PROMPT_FIELDS)}"
        raise PromptError(f"{path}:{number}: no prompt in this line; {expected}")
    return value.strip()
