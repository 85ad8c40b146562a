"""LamSampler in plain Optuna: stateless, deterministic, for one float."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution

from lamsearch import LamSampler
from lamsearch.acquisition import next_lam
from lamsearch.observations import observe
from lamsearch.surrogate import fit_surrogate


def bump(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 2.0, 4.0)
    return -((x - 2.7) ** 2)


def xs(study: optuna.Study) -> list[float]:
    return [trial.params["x"] for trial in study.trials]


def test_finds_the_maximum_of_a_plain_script() -> None:
    study = optuna.create_study(sampler=LamSampler(seed=1), direction="maximize")
    study.optimize(bump, n_trials=10)
    assert study.best_params["x"] == pytest.approx(2.7, abs=0.15)


def test_minimises_likewise() -> None:
    up = optuna.create_study(sampler=LamSampler(seed=1), direction="maximize")
    up.optimize(bump, n_trials=8)
    down = optuna.create_study(sampler=LamSampler(seed=1), direction="minimize")
    down.optimize(lambda trial: -bump(trial), n_trials=8)
    assert xs(up) == xs(down)


def test_a_resumed_study_proposes_what_an_uninterrupted_one_does() -> None:
    whole = optuna.create_study(sampler=LamSampler(seed=3), direction="maximize")
    whole.optimize(bump, n_trials=9)
    resumed = optuna.create_study(direction="maximize", sampler=LamSampler(seed=3))
    for _ in range(9):
        resumed.sampler = LamSampler(seed=3)  # nothing is remembered between trials
        resumed.optimize(bump, n_trials=1)
    assert xs(whole) == xs(resumed)
    other = optuna.create_study(direction="maximize", sampler=LamSampler(seed=4))
    other.optimize(bump, n_trials=4)
    assert xs(other) != xs(whole)[:4]


def test_warm_start_from_trials_that_are_there() -> None:
    study = optuna.create_study(sampler=LamSampler(), direction="maximize")
    for x in (2.0, 2.3, 2.6, 2.9, 3.2, 3.6, 4.0):
        study.add_trial(
            optuna.trial.create_trial(
                params={"x": x},
                distributions={"x": FloatDistribution(2.0, 4.0)},
                value=-((x - 2.7) ** 2),
            )
        )
    study.optimize(bump, n_trials=1)
    history = xs(study)[:-1]
    surrogate = fit_surrogate(observe(history, [-((x - 2.7) ** 2) for x in history]), bounds=(2, 4))
    assert xs(study)[-1] == pytest.approx(next_lam(surrogate), abs=1e-6)


def test_running_trials_are_not_proposed_again() -> None:
    study = optuna.create_study(sampler=LamSampler(), direction="maximize")
    study.optimize(bump, n_trials=6)
    pending = [study.ask().suggest_float("x", 2.0, 4.0) for _ in range(4)]
    assert len({round(x, 2) for x in pending}) == 4


def test_narrow_ranges_are_resolved_as_wide_ones_are() -> None:
    found = []
    for width in (1.0, 1e-3, 1e-6):

        def objective(trial: optuna.Trial, width: float = width) -> float:
            return -((trial.suggest_float("x", 0, width) / width - 0.4) ** 2)

        study = optuna.create_study(sampler=LamSampler(seed=1), direction="maximize")
        study.optimize(objective, n_trials=7)
        found.append([x / width for x in xs(study)])
    assert found[1] == pytest.approx(found[0], abs=2e-6)
    assert found[2] == pytest.approx(found[0], abs=2e-6)


def test_other_search_spaces_are_refused() -> None:
    study = optuna.create_study(sampler=LamSampler())
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    with pytest.raises(ValueError, match=r"one parameter, but the trial has \['x'\] and 'y'"):
        trial.suggest_float("y", 0, 1)
    with pytest.raises(ValueError, match="a plain float"):
        study.ask().suggest_float("x", 0.1, 1, log=True)
