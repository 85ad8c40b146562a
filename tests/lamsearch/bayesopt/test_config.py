"""The choices of a search, and the paper's Algorithm 2 as one of them."""

import math

import numpy as np
import optuna
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import norm

import lamsearch
from lamsearch.bayesopt.acquisition import next_lam
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.errors import SettingsError

THREE = {"acquisition": "ei", "recommend": "observed", "noise": "homoscedastic"}
PAPER = SearchConfig(**THREE)


def fit(config, lams, scores):
    return Evidence(config, lams, scores).surrogate


def noisy(lam: float) -> float:
    return -((lam - 0.6) ** 2) + 0.05 * math.sin(97 * lam)


@pytest.mark.parametrize("name", ["acquisition", "kernel", "noise", "recommend"])
def test_unknown_choices_are_refused(name):
    with pytest.raises(SettingsError, match=f"{name} 'none of these' given, expected one of"):
        SearchConfig(**{name: "none of these"})


@pytest.mark.slow
def test_algorithm_2_equals_its_formulas():
    """Eq. 40–43, for each member of the surrogate by hand: zero mean, f⁺ the largest R̂."""
    lams = [0.1, 0.35, 0.5, 0.72, 0.9]
    scores = [np.array([noisy(lam)]) for lam in lams]
    surrogate = fit(PAPER, lams, scores)
    y = np.array([noisy(lam) for lam in lams])
    targets = (y - y.mean()) / y.std(ddof=1)
    h, x = surrogate.hyperparameters, np.array(lams)

    def expected_improvement(lam: float) -> float:
        total = 0.0
        for ell, scale, noise in zip(h.lengthscale, h.outputscale, h.noise, strict=True):
            width = 2 * ell.item() ** 2
            curve = scale.item() * np.exp(-((x[:, None] - x) ** 2) / width)
            gram = curve + (noise.item() + 1e-6) * np.eye(5)
            k = scale.item() * np.exp(-((x - lam) ** 2) / width)
            mean = k @ np.linalg.solve(gram, targets)
            sigma = math.sqrt(scale.item() - k @ np.linalg.solve(gram, k))
            z = (mean - targets.max()) / sigma
            total += sigma * (z * norm.cdf(z) + norm.pdf(z))
        return total

    grid = np.linspace(0, 1, 201)
    start = grid[np.argmax([expected_improvement(lam) for lam in grid])]
    best = minimize_scalar(
        lambda lam: -expected_improvement(lam),
        bounds=(max(start - 0.01, 0), min(start + 0.01, 1)),
        method="bounded",
    ).x
    assert next_lam(surrogate, acquisition="ei", observed=True) == pytest.approx(best, abs=2e-3)


def test_algorithm_2_from_end_to_end():
    result = lamsearch.search(noisy, budget=8, seed=3, **THREE)
    lams = [e.lam for e in result.evaluations]
    assert lams[:4] == pytest.approx(initial_lams(4, seed=3, design="uniform"), abs=1e-6)
    values = [noisy(lam) for lam in lams]
    assert result.lam == lams[int(np.argmax(values))] == result.best_observed.lam


def test_homoscedastic_noise_ignores_what_images_say():
    rng = np.random.default_rng(0)
    lams = np.linspace(0, 1, 6)
    table = rng.normal(size=(6, 30)) - ((lams - 0.4) ** 2)[:, None]
    homoscedastic = SearchConfig(noise="homoscedastic")
    from_images = fit(homoscedastic, list(lams), list(table))
    from_means = fit(SearchConfig(), list(lams), list(table.mean(1)[:, None]))
    grid = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.equal(from_images.mean(grid), from_means.mean(grid))
    assert from_images.observations.variances.isnan().all()
    # What the images share at all λs is no noise of the comparison, but it is one of the level.
    offset = fit(SearchConfig(), list(lams), list(table)).observations.offset_variance
    assert from_images.observations.offset_variance == offset > 0


def test_algorithm_2_has_the_papers_kernel_and_others_the_default():
    assert PAPER.manifest(None)["kernel"] == "rbf"
    assert SearchConfig().manifest(None)["kernel"] == "matern"
    assert SearchConfig(**THREE, kernel="matern").manifest(None)["kernel"] == "matern"
    assert lamsearch.search(noisy, budget=4, **THREE).surrogate.kernel == "rbf"


def test_the_sampler_takes_a_whole_config():
    study = optuna.create_study(
        sampler=lamsearch.LamSampler(config=SearchConfig(seed=3, **THREE)), direction="maximize"
    )
    study.optimize(lambda trial: noisy(trial.suggest_float("lam", 0, 1)), n_trials=6)
    lams = [trial.params["lam"] for trial in study.trials]
    assert lams[:4] == pytest.approx(initial_lams(4, seed=3, design="uniform"), abs=1e-6)


def test_a_search_stops_early_when_it_is_sure():
    def curve(lam):
        return -((lam - 0.6) ** 2) + 1e-3 * np.sin(np.arange(30.0) + lam)

    result = lamsearch.search(curve, budget=12, epsilon="5%", confidence=0.9)
    assert 5 <= len(result.evaluations) < 12
    assert result.within.probability >= 0.9
    assert len(lamsearch.search(curve, budget=7).evaluations) == 7
    absolute = lamsearch.search(curve, budget=12, epsilon=result.within.epsilon, confidence=0.9)
    assert absolute.lam == pytest.approx(result.lam, abs=1e-6)


@pytest.mark.parametrize("epsilon", ["0%", "much", -1, "-5%", "nan", 0])
def test_unusable_tolerances_are_refused(epsilon):
    with pytest.raises(SettingsError, match=r"epsilon .* given, expected how much"):
        lamsearch.search(noisy, epsilon=epsilon)
