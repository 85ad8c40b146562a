"""LamSampler in plain Optuna: stateless, deterministic, for one float."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import Trial, TrialState, create_trial

from lamsearch import LamSampler
from lamsearch.bayesopt.acquisition import CLEARANCE, next_lam
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.bayesopt.policy import propose
from lamsearch.errors import SettingsError
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.pairing import observe

pytestmark = pytest.mark.slow

RANGE = FloatDistribution(2.0, 4.0)
DESIGN = [round(x, 5) for x in initial_lams(4, bounds=(2.0, 4.0))]


class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Optuna's own suites. Left out: MultiObjectiveSamplerTestCase, the opposite of SingleOnly."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return LamSampler


def curve(x: float) -> float:
    return -((x - 2.7) ** 2)


def bump(trial: Trial) -> float:
    return curve(trial.suggest_float("x", 2.0, 4.0))


def xs(study: optuna.Study) -> list[float]:
    return [trial.params["x"] for trial in study.trials]


def new_study(*evaluated: float, seed: int = 0) -> optuna.Study:
    """A study to maximise `curve` with trials that some other program made."""
    study = optuna.create_study(sampler=LamSampler(seed), direction="maximize")
    for x in evaluated:
        study.add_trial(create_trial(params={"x": x}, distributions={"x": RANGE}, value=curve(x)))
    return study


def proposal(study: optuna.Study) -> float:
    return study.ask().suggest_float("x", 2.0, 4.0)


def acquired(history: list[float]) -> float:
    scores = [curve(x) for x in history]
    return next_lam(fit_surrogate(observe(history, scores), bounds=(2.0, 4.0)))


def least_distance(lams: list[float]) -> float:
    return min(b - a for a, b in itertools.pairwise(sorted(lams)))


def test_finds_the_maximum_of_a_plain_script() -> None:
    study = new_study(seed=1)
    study.optimize(bump, n_trials=10)
    assert study.best_params["x"] == pytest.approx(2.7, abs=0.15)


def test_minimises_likewise() -> None:
    up = new_study(seed=1)
    up.optimize(bump, n_trials=8)
    down = optuna.create_study(sampler=LamSampler(seed=1), direction="minimize")
    down.optimize(lambda trial: -bump(trial), n_trials=8)
    assert xs(up) == xs(down)


def test_a_resumed_study_proposes_what_an_uninterrupted_one_does() -> None:
    whole = new_study(seed=3)
    whole.optimize(bump, n_trials=9)
    resumed = new_study(seed=3)
    for _ in range(9):
        resumed.sampler = LamSampler(seed=3)  # nothing is remembered between trials
        resumed.optimize(bump, n_trials=1)
    assert xs(whole) == xs(resumed)
    other = new_study(seed=4)
    other.optimize(bump, n_trials=4)
    assert xs(other) != xs(whole)[:4]


def test_warm_start_from_trials_that_are_there() -> None:
    history = [2.0, 2.3, 2.6, 2.9, 3.2, 3.6, 4.0]
    assert proposal(new_study(*history)) == pytest.approx(acquired(history), abs=1e-6)


@pytest.mark.parametrize(
    ("evaluated", "rest"),
    [
        ((), DESIGN),
        ((2.0, 4.0), DESIGN[2:]),  # some of the design
        ((DESIGN[2] + 0.001,), [*DESIGN[:2], DESIGN[3]]),  # near enough to one of its places
        ((2.4, 2.8, 3.2), DESIGN[:1]),  # elsewhere, but as many count
        ((3.0,) * 6, DESIGN[:3]),  # one place, however often
    ],
)
def test_the_design_goes_on_from_what_is_there(
    evaluated: tuple[float, ...], rest: list[float]
) -> None:
    study = new_study(*evaluated)
    study.optimize(bump, n_trials=len(rest) + 1)
    *history, last = xs(study)
    assert history[len(evaluated) :] == pytest.approx(rest, abs=1e-5)
    assert last == pytest.approx(acquired(history), abs=1e-6)


def test_enqueued_trials_count_as_soon_as_they_wait() -> None:
    study = new_study()
    first = study.ask()
    study.enqueue_trial({"x": 2.0})
    assert first.suggest_float("x", 2.0, 4.0) == 4.0  # 2 is taken
    popped = study.ask()
    assert proposal(study) == pytest.approx(DESIGN[2], abs=1e-5)
    assert popped.suggest_float("x", 2.0, 4.0) == 2.0


@pytest.mark.parametrize("finished", [0, 2, 6])
def test_trials_asked_for_together_get_their_places_in_any_order(finished: int) -> None:
    found = []
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        study = new_study()
        study.optimize(bump, n_trials=finished)
        asked = [study.ask() for _ in range(5)]
        for index in order:
            asked[index].suggest_float("x", 2.0, 4.0)
        found.append(xs(study))
        assert least_distance(xs(study)) >= 2 * CLEARANCE - 1e-6
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_a_pending_lam_that_is_not_known_is_what_would_be_proposed() -> None:
    lams = [0.0, 0.3, 0.7, 1.0]
    scores = [np.array([-((lam - 0.6) ** 2)]) for lam in lams]
    pending: list[float] = []
    for count in range(3):
        evidence = Evidence(SearchConfig(), list(lams), list(scores))
        unknown = [math.nan] * count
        pending.append(propose(evidence, pending=list(pending)))
        assert propose(evidence, pending=unknown) == pending[-1]
    assert least_distance([*lams, *pending]) >= CLEARANCE - 1e-6


def test_an_announced_proposal_is_seen_before_optuna_stores_it() -> None:
    study = new_study(*DESIGN)
    first = study.ask()
    frozen = study.trials[-1]
    x = study.sampler.sample_independent(study, frozen, "x", RANGE)
    study.add_trial(
        create_trial(params={"x": 3.9}, distributions={"x": RANGE}, value=5.0)
    )  # the same question would have another answer now
    assert abs(proposal(study) - x) >= 2 * CLEARANCE - 1e-6
    del first


def test_trials_without_a_value_are_not_repeated() -> None:
    study = new_study()

    def unlucky(trial: Trial) -> float:
        x = trial.suggest_float("x", 2.0, 4.0)
        if trial.number == 0:
            return math.nan
        if trial.number == 1:
            trial.report(100.0, step=1)
            raise optuna.TrialPruned
        return {2: math.inf, 5: math.nan}.get(trial.number, curve(x))

    study.optimize(unlucky, n_trials=9)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.COMPLETE) == 6
    assert least_distance(xs(study)) >= 2 * CLEARANCE - 1e-6
    assert xs(study)[:4] == pytest.approx(DESIGN, abs=1e-5)
    # Nothing is learnt from them: 100 and ∞ are not what attracts the others.
    assert abs(xs(study)[-1] - 2.7) < 0.5


@pytest.mark.parametrize("penalty", [1e30, 1e160, 1.7e308])
def test_a_huge_penalty_does_not_stop_the_search(penalty: float) -> None:
    study = new_study()
    study.optimize(lambda trial: -penalty if trial.number == 1 else bump(trial), n_trials=12)
    assert abs(study.best_params["x"] - 2.7) < 0.1


def test_only_failures_fill_the_range() -> None:
    study = new_study()
    study.optimize(lambda trial: math.nan * bump(trial), n_trials=20)
    assert least_distance(xs(study)) > 0.04


def test_values_outside_the_bounds_are_no_part_of_the_search() -> None:
    inside = new_study(2.0, 2.3, 2.6, 3.0, 4.0)
    wider = optuna.create_study(sampler=LamSampler(), direction="maximize")
    for x in (0.0, 2.0, 2.3, 2.6, 3.0, 4.0, 9.0):
        wider.add_trial(
            create_trial(
                params={"x": x}, distributions={"x": FloatDistribution(0.0, 9.0)}, value=curve(x)
            )
        )
    wider.add_trial(create_trial(value=7.0))  # has no x at all
    assert proposal(wider) == proposal(inside)


def test_narrow_ranges_are_resolved_as_wide_ones_are() -> None:
    found = []
    for width in (1.0, 1e-3, 1e-6):

        def objective(trial: Trial, width: float = width) -> float:
            return -((trial.suggest_float("x", 0, width) / width - 0.4) ** 2)

        study = optuna.create_study(sampler=LamSampler(seed=1), direction="maximize")
        study.optimize(objective, n_trials=7)
        found.append([x / width for x in xs(study)])
    assert found[1] == pytest.approx(found[0], abs=2e-6)
    assert found[2] == pytest.approx(found[0], abs=2e-6)


def several(trial: Trial) -> float:
    kind = trial.suggest_categorical("kind", ["a", "b"])
    x = trial.suggest_float("x", 2.0, 4.0)
    y = trial.suggest_float("y", 0.0, 1.0)
    z = trial.suggest_float("z", 0.1, 1.0, log=True)
    return curve(x) + 0 * (y + z + len(kind))


def test_other_parameters_are_left_to_another_sampler_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alone, study, again = new_study(), new_study(), new_study()
    alone.optimize(bump, n_trials=6)
    with caplog.at_level(logging.WARNING, "lamsearch.bayesopt.optuna_sampler"):
        study.optimize(several, n_trials=6)
    assert xs(study) == xs(alone)
    warnings = [
        record for record in caplog.records if record.name == "lamsearch.bayesopt.optuna_sampler"
    ]
    assert {record.args[0] for record in warnings} == {"kind", "y", "z"}
    assert "it searches one parameter, here 'x'" in caplog.text
    for _ in range(6):
        again.sampler = LamSampler(warn_independent_sampling=False)
        again.optimize(several, n_trials=1)
    assert [t.params for t in again.trials] == [t.params for t in study.trials]
    assert len({t.params["y"] for t in study.trials}) == 6
    assert len(warnings) == 18
    assert caplog.text.count("left to") == 18


def test_a_constant_is_no_parameter_to_search() -> None:
    alone, study = new_study(), new_study()
    alone.optimize(bump, n_trials=6)

    def beside_a_constant(trial: optuna.Trial) -> float:
        trial.suggest_float("fixed", 1.0, 1.0)
        return bump(trial)

    study.optimize(beside_a_constant, n_trials=6)
    assert xs(study) == xs(alone)


def test_the_other_sampler_may_be_given() -> None:
    study = new_study()
    study.sampler = LamSampler(independent_sampler=optuna.samplers.TPESampler(seed=5))
    study.optimize(several, n_trials=3, n_jobs=2)
    assert len(study.trials) == 3


def test_unusable_arguments_and_studies_are_refused() -> None:
    with pytest.raises(SettingsError, match="acquisition 'pi' given, expected one of auto"):
        LamSampler(acquisition="pi")
    for seed in (None, -1, 2**70, 0.5):
        with pytest.raises(SettingsError, match=f"seed {seed} given, expected 0 to"):
            LamSampler(seed)
    study = optuna.create_study(sampler=LamSampler(), directions=["maximize", "minimize"])
    with pytest.raises(ValueError, match=r"one objective, but study '.*' has 2 directions"):
        study.ask().suggest_float("x", 0, 1)
