"""The exact world: where the mixture of every step is Eq. 4, and where it is not."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from examples.paper import exact_world
from examples.paper.exact_densities import Normal, realigned_normal
from examples.paper.exact_figure import select
from examples.paper.exact_limits import limit
from examples.paper.exact_moments import SAMPLERS, sampled
from examples.paper.exact_plane import plane_row
from examples.paper.exact_worlds import WORLDS, Row, distance, one, unguided

LAMS = torch.tensor([0.0, 0.3, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)


def rows(world: str, sampler: str = "DDIM", steps: int = 50, anchor: float = 1) -> dict[float, Row]:
    measured = unguided(world, LAMS, sampler=sampler, steps=steps, anchor=anchor)
    return {row.lam: row for row in measured}


def test_eq_4_is_the_normalised_product_of_powers() -> None:
    points = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    pair = WORLDS["aligned narrower"]
    logs = [-((points - p.mean) ** 2) / (2 * p.covariance[0]) for p in pair]
    realigned = realigned_normal(*pair, LAMS)
    for i, lam in enumerate(LAMS):
        density = ((1 - lam) * logs[0] + lam * logs[1]).softmax(0)
        mean = (density * points).sum()
        variance = (density * (points - mean) ** 2).sum()
        torch.testing.assert_close(realigned.mean[i, 0], mean, atol=1e-9, rtol=0)
        torch.testing.assert_close(realigned.covariance[i, 0, 0], variance, atol=1e-9, rtol=0)


def test_eq_4_without_a_density_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be normalised"):
        realigned_normal(*WORLDS["aligned wider"], torch.tensor([2.7]).double())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_model_emulates_itself_and_the_reference(sampler: str) -> None:
    measured = rows("plane", sampler, steps=10)
    for lam in (0.0, 1.0):
        assert measured[lam].to_scratch < 1e-3
    assert measured[0.5].to_scratch > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_shift_alone_is_emulated_exactly_at_any_lam(sampler: str) -> None:
    measured = rows("equal widths", sampler, steps=10)
    # In %: the schedulers compute in float32, Euler from samples as wide as σ_T.
    assert max(row.to_scratch for row in measured.values()) < 1e-2
    assert measured[2.0].mean > 1.9


@pytest.mark.parametrize("world", ["aligned narrower", "aligned wider"])
@pytest.mark.parametrize(("sampler", "draws_noise"), [("DDIM", False), ("DDPM", True)])
def test_many_steps_approach_the_closed_form(world: str, sampler: str, draws_noise: bool) -> None:
    """And neither of the two limits is Eq. 4: more steps do not help."""
    pair = WORLDS[world]
    lams = torch.tensor([0.0, 0.3, 1.0, 1.5], dtype=torch.float64)
    models = [model.denoiser() for model in pair]
    few, many = (
        sampled(models, lams, dimension=1, sampler=sampler, steps=steps) for steps in (30, 250)
    )
    exact = realigned_normal(*pair, lams)
    for i, lam in enumerate(lams.tolist()):
        end = limit(*pair, lam, draws_noise=draws_noise)
        assert distance(one(many, i), end) < distance(one(few, i), end)
        if lam in (0.3, 1.5):
            assert distance(one(many, i), end) < distance(one(many, i), one(exact, i)) / 2


def test_deterministic_samplers_give_the_geometric_mean_of_the_variances() -> None:
    pair = (Normal.of([0.0], [[1.0]]), Normal.of([2.0], [[0.25]]))
    end = limit(*pair, 0.5, draws_noise=False)
    assert float(end.covariance) == pytest.approx(0.5)


def test_ancestral_euler_is_ddpm() -> None:
    euler, ddpm = (rows("plane", name, steps=20)[0.5] for name in ("Euler ancestral", "DDPM"))
    assert euler.mean == pytest.approx(ddpm.mean, abs=1e-4)
    assert euler.deviation == pytest.approx(ddpm.deviation, abs=1e-4)


def test_noise_brings_the_emulation_nearer_and_extrapolation_farther() -> None:
    for world in ("aligned narrower", "aligned wider", "plane"):
        deterministic, ancestral = rows(world), rows(world, "Euler ancestral")
        for lam in (0.3, 0.5, 1.5, 2.0):
            assert ancestral[lam].to_scratch < deterministic[lam].to_scratch
        assert deterministic[2.0].to_scratch > deterministic[1.5].to_scratch


def test_the_error_vanishes_with_the_anchors_distance() -> None:
    """It is of second order in the alignment, so that relative to it, it falls in proportion."""
    weak, weaker = (rows("aligned narrower", anchor=k)[0.5].to_scratch for k in (0.04, 0.02))
    assert weak / weaker == pytest.approx(2, abs=0.2)


def test_on_the_plane_a_suppressed_mode_is_kept_and_another_appears() -> None:
    """Of the third mode, which the aligned model avoids, Eq. 4 leaves less than is sampled.

    The other appears on the way to the first mode: neither model has it, nor does Eq. 4.
    """
    for sampler, least in (("DDIM", 0.04), ("Euler ancestral", 0.015)):
        row = plane_row(0.5, sampler=sampler, steps=50, samples=4000)
        assert row.modes[2] > row.target_modes[2] + least
        assert row.between > 2 * row.target_between


def test_on_the_plane_the_reference_alone_keeps_its_modes() -> None:
    row = plane_row(0.0, sampler="DDIM", steps=50, samples=4000)
    assert row.modes == pytest.approx(row.target_modes, abs=0.03)


@pytest.mark.slow
def test_the_command_writes_tables_and_pictures(tmp_path: Path) -> None:
    measured, plane = exact_world.main(
        tmp_path, lams=(0.3, 0.5), steps=(10,), scales=(5.0,), plane_lams=(0.5,), samples=200
    )
    with (tmp_path / "exact_world.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(measured)
    assert len(plane) == 2
    assert len(select(measured, guidance_scale=5.0)) == 4
    text = (tmp_path / "exact_world.md").read_text(encoding="utf-8")
    assert "| aligned narrower | DDIM |" in text
    for suffix in ("svg", "png"):
        assert (tmp_path / f"exact_world.{suffix}").stat().st_size > 10_000
