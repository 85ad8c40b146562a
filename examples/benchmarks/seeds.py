"""How far is the answer from the truth? The bundled search with many seeds, one image plan each.

    python -m examples.benchmarks.seeds --seeds 20 --output seeds.json

The truth is the bundled reference curve: J(λ) at 21 λs, 1,000 images each. An answer's regret is
what J loses at λ* against the curve's maximum, in percent of the curve's range. The script prints
means over the seeds with standard errors. Regrets are skewed: a few seeds make up much of the mean,
so 20 seeds without a bad one look better than they should, and their standard error is too small.
Seeds that the output file contains already are not run again. `--processes N` runs N seeds at a
time, each with its own models, and `--device cuda` on a GPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline

import lamsearch
from examples.benchmarks.processes import map_seeds

CURVE = Path(str(files("lamsearch") / "miniature" / "reference_curve.csv"))
WORST_SHARE = 5.0


def reference_curve(reward: str) -> CubicSpline:
    """Return J(λ) through the stored means, whose errors are far below the curve's range."""
    with CURVE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return CubicSpline([float(r["lam"]) for r in rows], [float(r[reward]) for r in rows])


def regret(curve: CubicSpline, lam: float) -> float:
    """Return what J loses at λ against the maximum, in percent of the curve's range."""
    values = curve(np.linspace(0, 1, 1001))
    loss = max(0.0, values.max() - curve(lam))  # λ may lie between the grid's points
    return float(100 * loss / (values.max() - values.min()))


def run_seed(
    seed: int, *, anchor: str, reward: str, budget: int, folder: Path, device: str | None = None
) -> dict[str, Any]:
    storage = f"sqlite:///{folder}/seed{seed}.db"
    result = lamsearch.run(anchor, reward, budget, seed=seed, storage=storage, device=device)
    curve = reference_curve(reward)
    return {
        "seed": seed,
        "budget": budget,
        "anchor": anchor,
        "reward": reward,
        "lam": result.lam,
        "interval": list(result.lam_interval),
        "regret": regret(curve, result.lam),
        "observed_lam": result.best_observed.lam,
        "observed_regret": regret(curve, result.best_observed.lam),
        "seconds": result.seconds,
    }


def main(
    seeds: int = 20,
    budget: int = 12,
    output: str = "seeds.json",
    anchor: str = "beta500",
    reward: str = "pickscore",
    device: str | None = None,
    processes: int = 1,
) -> list[dict[str, Any]]:
    path = Path(output)
    asked = {"budget": budget, "anchor": anchor, "reward": reward}
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    if any({key: row[key] for key in asked} != asked for row in rows):
        raise SystemExit(f"{output} holds other searches: name another --output")
    done = {row["seed"] for row in rows}
    task = partial(
        run_seed,
        anchor=anchor,
        reward=reward,
        budget=budget,
        folder=path.absolute().parent,
        device=device,
    )
    todo = [seed for seed in range(seeds) if seed not in done]
    for row in map_seeds(task, todo, processes):
        rows.append(row)
        command = f"python -m examples.benchmarks.seeds --seeds {seeds} --budget {budget}"
        save(path, rows, command + (f" --device {device}" if device else ""))
    report(rows, reward)
    return rows


def save(path: Path, rows: list[dict[str, Any]], command: str) -> None:
    names = ("torch", "diffusers", "transformers", "botorch", "gpytorch", "optuna")
    path.write_text(
        json.dumps(
            {
                "command": command,
                "versions": {name: version(name) for name in names},
                "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                "rows": rows,
            },
            indent=1,
        )
    )


def report(rows: list[dict[str, Any]], reward: str) -> None:
    grid = np.linspace(0, 1, 1001)
    best = grid[reference_curve(reward)(grid).argmax()]
    print(f"reference curve: maximum at λ = {best:.3f}")
    print("| seed | λ* | 95 % interval | regret, % of range | best observed | its regret |")
    print("|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row["seed"]):
        low, high = row["interval"]
        print(
            f"| {row['seed']} | {row['lam']:.3f} | {low:.3f} to {high:.3f} | {row['regret']:.2f} | "
            f"{row['observed_lam']:.3f} | {row['observed_regret']:.2f} |"
        )
    print("\n| | mean regret ± standard error | median | worst | at most 5 % |")
    print("|---|---|---|---|---|")
    for name, key in (("λ*", "regret"), ("best observed", "observed_regret")):
        losses = [row[key] for row in rows]
        good = sum(loss <= WORST_SHARE for loss in losses)
        middle, worst = f"{np.median(losses):.2f} %", f"{max(losses):.2f} %"
        print(f"| {name} | {mean_text(losses)} | {middle} | {worst} | {good} of {len(losses)} |")
    covered = sum(row["interval"][0] <= best <= row["interval"][1] for row in rows)
    print(f"{covered} of {len(rows)} intervals contain the curve's maximum")


def mean_text(losses: list[float]) -> str:
    """Return the mean, with its standard error where there are two losses or more."""
    if len(losses) == 1:
        return f"{losses[0]:.2f} %"
    error = np.std(losses, ddof=1) / math.sqrt(len(losses))
    return f"{np.mean(losses):.2f} ± {error:.2f} %"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=12)
    parser.add_argument("--output", default="seeds.json")
    parser.add_argument("--device")
    parser.add_argument("--processes", type=int, default=1)
    main(**vars(parser.parse_args()))
