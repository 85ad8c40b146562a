"""λ in the first steps of a call, and the reference alone in the others."""

from __future__ import annotations


class FirstSteps:
    """λ as a function of the denoiser's timestep, which counts the steps of a call.

    Args:
        lam: λ in the first steps.
        steps: How many these are; the reference alone takes the others.
    """

    def __init__(self, lam: float, steps: int) -> None:
        self._lam, self._steps = lam, steps
        self._seen: list[float] = []

    def __call__(self, timestep: float) -> float:
        """Return λ at a timestep; a step may run the denoiser several times."""
        if timestep not in self._seen:
            # Timesteps fall in a call, so that a larger one begins the next call.
            started_again = bool(self._seen) and timestep > self._seen[-1]
            self._seen = [timestep] if started_again else [*self._seen, timestep]
        elif timestep == self._seen[0]:
            self._seen = [timestep]
        return self._lam if len(self._seen) <= self._steps else 0.0
