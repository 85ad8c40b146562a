"""How a pipeline's call takes back what its `encode_prompt` returns: measured, not looked up.

What `encode_prompt` returns has no names. They are found by giving the results back to it, under
the names of its own arguments: in the right order, they come back unchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Names = tuple[str, ...]
"""Arguments of a pipeline's call, in the order in which `encode_prompt` returns their values."""


def encode(pipe: Any, prompts: list[str] | None, **given: Any) -> tuple[Any, ...]:
    """Return what the pipeline's `encode_prompt` returns for prompts, or for their embeddings.

    It is called as the pipeline's call does by default, with the same lengths and templates.
    """
    takes = inspect.signature(pipe.encode_prompt).parameters
    call = inspect.signature(type(pipe).__call__).parameters
    arguments = {
        **{n: p.default for n, p in call.items() if p.default is not p.empty},
        "prompt": prompts,
        "prompt_2": None,
        "prompt_3": None,
        "device": pipe.device,
        "num_images_per_prompt": 1,
        "do_classifier_free_guidance": True,
        **given,
    }
    with torch.no_grad():
        results = pipe.encode_prompt(**{k: v for k, v in arguments.items() if k in takes})
    return tuple(results) if isinstance(results, list | tuple) else (results,)


def embedding_names(pipe: Any, prompts: Sequence[str]) -> Names | None:
    """Return which arguments of the pipeline's call take the results of its `encode_prompt`.

    Args:
        pipe: A pipeline.
        prompts: Texts to try with, among them the shortest and the longest.

    Returns:
        The names; None if they are not certain, or if a prompt's embeddings depend on the length of
        the others in its batch. Results that have no name are needed by no call.
    """
    if not callable(getattr(pipe, "encode_prompt", None)):
        return None
    both = [min(prompts, key=len), max(prompts, key=len)]
    try:
        results, alone = encode(pipe, both), encode(pipe, both[:1])
        for names in _orders(pipe):
            if _has_rows(results[: len(names)], alone) and _come_back(pipe, names, results):
                return names
    except Exception:
        # A pipeline may refuse what others take; it gets the texts.
        return None
    return None


def _orders(pipe: Any) -> list[Names]:
    """Return the orders to try: of the arguments of `encode_prompt`, and of the call."""
    encoder = inspect.signature(pipe.encode_prompt).parameters
    call = inspect.signature(type(pipe).__call__).parameters
    shared = {name for name in encoder if name in call and _is_embedding(name)}
    # Where an encoder takes no negative embeddings, the pipeline encodes them only if it needs to.
    left = {n for n in call if _is_embedding(n) and n not in shared and "negative" not in n}
    if left or not shared:
        return []
    return [tuple(n for n in order if n in shared) for order in (encoder, call)]


def _is_embedding(name: str) -> bool:
    return "prompt" in name and ("embeds" in name or "mask" in name)


def _has_rows(results: Sequence[Any], alone: Sequence[Any]) -> bool:
    """Return whether the results have one row per prompt, independent of the other's length."""
    pairs = list(zip(results, alone, strict=False))
    return all(isinstance(x, Tensor) for pair in pairs for x in pair) and all(
        len(two) == 2 and len(one) == 1 and two.shape[1:] == one.shape[1:] for two, one in pairs
    )


def _come_back(pipe: Any, names: Names, results: tuple[Any, ...]) -> bool:
    again = encode(pipe, None, **dict(zip(names, results, strict=False)))
    return len(again) == len(results) and all(map(torch.equal, again, results))
