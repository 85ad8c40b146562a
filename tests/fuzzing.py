"""Inputs that are nearly right, and nearly anything else: mutations of good ones, by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

PIECES = (
    *("", " ", "\n", "\r\n", "\t", "\0", "\x1b[2J", "\x9b1m", "\u202e", "\u2028", "\ufeff", "日"),
    *('"', "'", '"""', "'''", "\\", "\\ud800", "\\u0000", "[", "]", "[[", "{", "}", "=", ",", "~/"),
    *(".", "..", "/", ":", ";", "#", "$", "$\\frac{$", "%", "*", "+", "-", "_", "<", ">=", "≥"),
    *("0", "1", "-1", "1e999", "-0.0", "nan", "inf", "Infinity", "9" * 30, "0x1", "1e", "1_0"),
    *("true", "null", "[rewards]", "[[anchors]]", "a.b.c", "os:system", "reference", "% of "),
)
"""What is put into texts: marks of the formats, numbers at their ends, and characters that lie."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan")),
    *(float("inf"), "", "a", "0", "\x1b[2J", "\u202e", "x" * 300, [], {}, [[]], [None], {"": 0}),
    *(
        [0, 0],
        [-1],
        [10**30],
        ["a"],
        [0.5],
        {"a": [1]},
        [[0, 5]],
        [[5, 0]],
        [[0, 10**30]],
        [1, "a"],
    ),
)
"""JSON values of every type."""


def mutations(seeds: Sequence[str], count: int) -> Iterator[str]:
    """Yield texts that differ from good ones in one to six places; the same ones in every run."""
    rng = random.Random(0)
    for _ in range(count):
        text = rng.choice(seeds)
        for _ in range(rng.randint(1, 6)):
            text = _mutated(text, rng)
        yield text


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return content with a few bytes flipped, cut out or put in."""
    given = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(given) + 1)
        kind = rng.randrange(3)
        if kind == 0 and place < len(given):
            given[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del given[place : place + rng.randint(1, 20)]
        else:
            given[place:place] = rng.randbytes(rng.randint(1, 4))
    return bytes(given)


def mutated_json(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one of its parts replaced, left out or put elsewhere."""
    if rng.random() < 0.25 or not isinstance(value, list | dict) or not value:
        return rng.choice(VALUES)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        changed = mutated_json(value[place], rng)
        return [*value[:place], *([changed] * rng.randint(0, 2)), *value[place + 1 :]]
    key = rng.choice(list(value))
    rest = {name: each for name, each in value.items() if name != key}
    kind = rng.randrange(3)
    if kind == 0:
        return rest
    name = rng.choice(PIECES) if kind == 1 else key
    return {**rest, name: mutated_json(value[key], rng)}


def _mutated(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text) + 1)
    stop = min(len(text), start + rng.choice((0, 0, 1, 1, 3, 12, 200)))
    kind = rng.randrange(4)
    if kind == 0:
        return text[:start] + text[stop:]
    if kind == 1:  # some part of it elsewhere
        place = rng.randrange(len(text) + 1)
        return text[:place] + text[start:stop] + text[place:]
    if kind == 2:
        return text[:start] + rng.choice(PIECES) * rng.choice((1, 1, 1, 2, 50)) + text[stop:]
    return text[:start] + chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) + text[stop:]
