"""Search λ for an evaluation of your own: any function of λ that returns scores.

    python examples/search_own_evaluation.py

The evaluation here stands for a job on your cluster: it returns one score per image, the same
images at every λ, so that the search can compare λs far more precisely than the raw means allow.
"""

from __future__ import annotations

import numpy as np

import lamsearch

IMAGES = 64


def evaluate(lam: float) -> np.ndarray:
    """Return per-image scores: prompts differ a lot, alignment helps until it hacks the reward."""
    draws = np.random.default_rng(0)
    prompts = draws.normal(0.0, 0.2, IMAGES)
    taste = draws.normal(1.0, 0.2, IMAGES)
    return 0.2 + prompts + 0.1 * (taste * lam - 0.8 * lam**3)


def main(budget: int = 10) -> lamsearch.Summary:
    result = lamsearch.search(evaluate, beta=2000, budget=budget)
    print(f"λ* = {result.lam:.3f}, β/λ* = {result.effective_beta:.0f}")
    print(f"95 % interval of λ*: {result.lam_interval[0]:.3f} to {result.lam_interval[1]:.3f}")
    return result


if __name__ == "__main__":
    main()
