"""Use LamSampler in a plain Optuna script that continues from existing evaluations.

    python examples/optuna_script.py

A coarse grid was evaluated by hand before. It is added as trials, and the sampler learns from them
without repeating any. Any study will do: one in a database, with enqueued trials, or from another
sampler.
"""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

import lamsearch
from lamsearch.bayesopt.recommendation import Recommendation, recommend
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.pairing import observe

RANGE = FloatDistribution(0.0, 1.0)
GRID = {0.0: 0.2003, 0.25: 0.2234, 0.5: 0.2416, 0.75: 0.2402, 1.0: 0.2211}
"""λ → mean reward, as measured."""


def evaluate(lam: float) -> float:
    """Return a mean reward, as noisy as finitely many images make it: it rises, then is hacked."""
    noise = np.random.default_rng(int(lam * 1e6)).normal(0.0, 0.002)
    return 0.2 + 0.1 * (lam - 0.8 * lam**3) + float(noise)


def answer(study: optuna.Study) -> Recommendation:
    """Return λ* by all trials together: the best single one owes its rank in part to its noise."""
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    lams = [trial.params["lam"] for trial in trials]
    return recommend(fit_surrogate(observe(lams, [trial.value for trial in trials])))


def main(trials: int = 8) -> optuna.Study:
    study = optuna.create_study(sampler=lamsearch.LamSampler(seed=0), direction="maximize")
    for lam, value in GRID.items():
        study.add_trial(
            optuna.create_trial(params={"lam": lam}, distributions={"lam": RANGE}, value=value)
        )
    study.optimize(lambda trial: evaluate(trial.suggest_float("lam", 0, 1)), n_trials=trials)
    best = answer(study)
    low, high = best.lam_interval
    print(f"λ* = {best.lam:.3f} (95 % interval {low:.3f} to {high:.3f})")
    print(f"best observed: λ {best.best_observed[0]:.3f} at {best.best_observed[1]:.4f}")
    return study


if __name__ == "__main__":
    main()
