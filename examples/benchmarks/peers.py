"""Peers of our search in the benchmark, each with its own suggestions and answer.

| peer | suggests | answers |
|---|---|---|
| `paper` | Algorithm 2: 4 uniform draws, then EI of a maximum-likelihood GP | best observed |
| `grid` | n even λs, ends included | best observed |
| `grid_gp` | the same | argmax of a BoTorch `SingleTaskGP`'s mean, fitted by its defaults |
| `golden` | golden section search | midpoint of the remaining bracket |
| `tpe`, `gpsampler` | Optuna's samplers, 4 start-up trials | `study.best_params` |
| `qlognei` | 4 Sobol points, then BoTorch's qLogNEI, noise known | evaluated λ of the best mean |
| `ax` | `ax.api.Client`, its defaults, told mean and standard error | `get_best_parameterization` |

Algorithm 2 is that of arXiv 2601.20198. Of an evaluation a peer sees the mean over its images and
the raw standard error of that mean.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import optuna
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.sampling import draw_sobol_samples
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.optimize import minimize
from scipy.stats import norm

from examples.benchmarks.curves import Array
from examples.benchmarks.records import INITIAL

Evaluate: TypeAlias = Callable[[float], tuple[float, float]]
"""λ → mean score and its raw standard error."""
Peer: TypeAlias = Callable[[Evaluate, int], Iterator[float]]
"""Evaluation and seed → the peer's answers after 1, 2, 3, … evaluations, without end."""

LINE = np.linspace(0, 1, 1001)
GOLDEN = (math.sqrt(5) - 1) / 2

LOG_BOUNDS = np.log([(0.01, 10), (1e-3, 1e3), (1e-5, 10)])
"""Bounds of ℓ, σ_f² and σ_n² in the paper's fit; the values are standardised."""
LOG_STARTS = np.log([(0.1, 1, 0.01), (0.3, 1, 0.1), (1, 1, 0.5)])


def best_observed(lams: Sequence[float], values: Sequence[float]) -> float:
    return lams[int(np.argmax(values))]


def paper(evaluate: Evaluate, seed: int) -> Iterator[float]:
    rng = np.random.default_rng(seed)
    lams: list[float] = []
    values: list[float] = []
    while True:
        lam = rng.uniform() if len(lams) < INITIAL else _next_by_ei(np.array(lams), values)
        lams.append(float(lam))
        values.append(evaluate(lams[-1])[0])
        yield best_observed(lams, values)


def _next_by_ei(lams: Array, values: Sequence[float]) -> float:
    """Maximise Eq. 43 on a line of 1,001 points; where it underflows, take the largest σ."""
    targets = (np.array(values) - np.mean(values)) / np.std(values)
    mean, sigma = _zero_mean_gp(lams, targets)
    z = (mean - targets.max()) / sigma
    improvement = np.clip(sigma * (z * norm.cdf(z) + norm.pdf(z)), 0, None)
    return LINE[np.lexsort((sigma, improvement))[-1]]


def _zero_mean_gp(lams: Array, targets: Array) -> tuple[Array, Array]:
    """Return Eq. 41–42, mean and σ, on `LINE` at the most likely ℓ, σ_f² and σ_n²."""
    squares = (lams[:, None] - lams) ** 2
    arguments = {"args": (squares, targets), "jac": True, "bounds": LOG_BOUNDS}
    fits = [minimize(_negative_log_likelihood, x, **arguments) for x in LOG_STARTS]
    lengthscale, outputscale, noise = np.exp(min(fits, key=lambda fit: fit.fun).x)
    curve = outputscale * np.exp(-squares / (2 * lengthscale**2))
    root = np.linalg.cholesky(curve + noise * np.eye(len(lams)))
    cross = outputscale * np.exp(-((lams[:, None] - LINE) ** 2) / (2 * lengthscale**2))
    white = np.linalg.solve(root, cross)
    variance = outputscale - (white**2).sum(axis=0)
    return white.T @ np.linalg.solve(root, targets), np.sqrt(variance.clip(1e-12))


def _negative_log_likelihood(logs: Array, squares: Array, targets: Array) -> tuple[float, Array]:
    """Return its value and gradient at log ℓ, log σ_f², log σ_n²."""
    lengthscale, outputscale, noise = np.exp(logs)
    curve = outputscale * np.exp(-squares / (2 * lengthscale**2))
    root = np.linalg.cholesky(curve + noise * np.eye(len(targets)))
    inverse = np.linalg.inv(root)
    inverse = inverse.T @ inverse
    weights = inverse @ targets
    slope = (inverse - np.outer(weights, weights)) / 2
    gradient = (slope * curve * squares).sum() / lengthscale**2, (slope * curve).sum()
    value = targets @ weights / 2 + np.log(np.diag(root)).sum()
    return value, np.array([*gradient, noise * np.trace(slope)])


def golden(evaluate: Evaluate, seed: int) -> Iterator[float]:
    """Search by golden sections, trusting each comparison; `seed` plays no part."""
    low, high = 0.0, 1.0
    left, right = 1 - GOLDEN, GOLDEN
    at_left = evaluate(left)[0]
    yield (low + high) / 2
    at_right = evaluate(right)[0]
    while True:
        if at_left > at_right:
            high, right, at_right = right, left, at_left
            yield (low + high) / 2
            left = high - GOLDEN * (high - low)
            at_left = evaluate(left)[0]
        else:
            low, left, at_left = left, right, at_right
            yield (low + high) / 2
            right = low + GOLDEN * (high - low)
            at_right = evaluate(right)[0]


def tpe(evaluate: Evaluate, seed: int) -> Iterator[float]:
    return _optuna(optuna.samplers.TPESampler(seed=seed, n_startup_trials=INITIAL), evaluate)


def gpsampler(evaluate: Evaluate, seed: int) -> Iterator[float]:
    return _optuna(optuna.samplers.GPSampler(seed=seed, n_startup_trials=INITIAL), evaluate)


def _optuna(sampler: optuna.samplers.BaseSampler, evaluate: Evaluate) -> Iterator[float]:
    study = optuna.create_study(sampler=sampler, direction="maximize")
    while True:
        trial = study.ask({"lam": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, evaluate(trial.params["lam"])[0])
        yield study.best_params["lam"]


def qlognei(evaluate: Evaluate, seed: int) -> Iterator[float]:
    """Search as in BoTorch's tutorial on noisy functions, in one dimension, with fewer restarts."""
    torch.manual_seed(seed)  # `optimize_acqf` chooses its restarts by the global state
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    start = draw_sobol_samples(bounds, n=INITIAL, q=1, seed=seed).flatten().tolist()
    rows: list[tuple[float, float, float]] = []
    model: Any = None
    while True:
        lam = start[len(rows)] if len(rows) < INITIAL else _next_by_qlognei(model, bounds, seed)
        rows.append((lam, *evaluate(lam)))
        if len(rows) < INITIAL:
            yield best_observed([row[0] for row in rows], [row[1] for row in rows])
            continue
        model = _known_noise_gp(rows)
        means = model.posterior(torch.tensor([[row[0]] for row in rows]).double()).mean
        yield rows[int(means.argmax())][0]


def _known_noise_gp(rows: list[tuple[float, float, float]]) -> SingleTaskGP:
    X, Y, stderr = torch.tensor(rows, dtype=torch.float64).split(1, dim=1)
    return _fitted(SingleTaskGP(X, Y, train_Yvar=stderr**2))


def _next_by_qlognei(model: SingleTaskGP, bounds: torch.Tensor, seed: int) -> float:
    acquisition = qLogNoisyExpectedImprovement(
        model,
        X_baseline=model.train_inputs[0],
        sampler=SobolQMCNormalSampler(torch.Size([256]), seed=seed),
        prune_baseline=True,
    )
    candidate, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=4, raw_samples=128)
    return candidate.item()


def _fitted(model: SingleTaskGP) -> SingleTaskGP:
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def ax(evaluate: Evaluate, seed: int) -> Iterator[float]:
    """Search with Ax, which is imported late: it is no dependency of this project."""
    from ax.api.client import Client
    from ax.api.configs import RangeParameterConfig
    from ax.utils.common.logger import set_stderr_log_level

    set_stderr_log_level(logging.ERROR)  # else it logs several lines per trial
    client = Client(random_seed=seed)
    lam = RangeParameterConfig(name="lam", parameter_type="float", bounds=(0.0, 1.0))
    client.configure_experiment(parameters=[lam], name="search")
    client.configure_optimization(objective="score")
    for count in itertools.count(1):
        for trial, parameters in client.get_next_trials(max_trials=1).items():
            client.complete_trial(trial, raw_data={"score": evaluate(parameters["lam"])})
        yield client.get_best_parameterization()[0]["lam"] if count >= INITIAL else math.nan


def grid_gp(lams: Sequence[float], values: Sequence[float]) -> float:
    X, Y = (torch.tensor(column, dtype=torch.float64)[:, None] for column in (lams, values))
    mean = _fitted(SingleTaskGP(X, Y)).posterior(torch.from_numpy(LINE)[:, None]).mean
    return LINE[int(mean.argmax())]


PEERS: dict[str, Peer] = {
    "paper": paper,
    "golden": golden,
    "tpe": tpe,
    "gpsampler": gpsampler,
    "qlognei": qlognei,
    "ax": ax,
}
GRIDS: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "grid": best_observed,
    "grid_gp": grid_gp,
}
"""λs and values of a grid → the answer; every number of evaluations has a grid of its own."""
