"""What one actor of a study on many GPUs does, for people to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ActorState:
    """What an actor does at the moment.

    Attributes:
        number: Its number, from 1.
        activity: What it does, such as "λ = 0.400, images 8 to 15", "loading" or "idle".
        images: Images that it has scored.
        seconds: Time that these took.
        news: Something worth a line of its own, such as that it died; None for everyday work.
    """

    number: int
    activity: str
    images: int
    seconds: float
    news: str | None = None


OnActor = Callable[[ActorState], None]
"""Receives the state of an actor whenever it changes."""
