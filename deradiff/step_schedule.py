"""λ in the first steps of a call, and the reference alone in the others."""

from __future__ import annotations

from collections.abc import Callable


def first_steps(lam: float, steps: int, taken: Callable[[], int]) -> Callable[[float], float]:
    """Return λ as a function of the denoiser's timestep.

    Args:
        lam: λ in the first steps.
        steps: How many these are; the reference alone takes the others.
        taken: Returns the number of steps that the call has taken so far.
    """
    return lambda timestep: lam if taken() < steps else 0.0
