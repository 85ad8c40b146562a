"""What to do with an answer, against closed forms and draws."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamsearch
from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.advice import Advice, advise, passes
from lamsearch.report.advice_table import advice_table
from lamsearch.report.advice_words import percent, sentences, with_sentences
from lamsearch.report.costs import CostsConfig, GpuHours
from lamsearch.report.exported import ExportDifference, recalled_export, remember_export
from lamsearch.report.gains import (
    EmulationError,
    exported_gain,
    probability_above_zero,
    retrained_gain,
)
from lamsearch.report.onset import Onset
from lamsearch.report.terminal import drawn
from lamsearch.study.database import Study
from lamsearch.study.manifest import EXPORTS_FACT

COSTS = CostsConfig(alignment_cost="336 GPU-hours", price=2.5)
IMAGES = 64


def search(peak: float, noise: float = 0.01, **options: Any) -> lamsearch.Summary:
    """A parabola with its maximum at `peak`, 64 images per λ."""
    rng = np.random.default_rng(0)
    effect = rng.normal(size=IMAGES)

    def evaluate(lam: float) -> np.ndarray:
        own = np.random.default_rng(int(1e6 * abs(lam))).normal(size=IMAGES)
        return 0.5 + 0.1 * effect - 0.1 * (lam - peak) ** 2 + noise * own

    summary = lamsearch.search(evaluate, beta=500, budget=8, **options)
    return dataclasses.replace(summary, anchor="b500", seconds=8 * IMAGES * 2.0)


@pytest.fixture(scope="module")
def summary() -> lamsearch.Summary:
    return search(0.5)


def gain(value: float, stderr: float) -> Gain:
    return Gain(value, stderr, (value - 1.96 * stderr, value + 1.96 * stderr))


def test_probabilities_are_those_of_draws() -> None:
    emulation = EmulationError("family", 0.004, 0.01, 6)
    rng = np.random.default_rng(0)
    draws = rng.normal(0.02, 0.008, 400_000) - rng.normal(0.004, 0.01, 400_000)
    found = retrained_gain(gain(0.02, 0.008), emulation)
    assert found.value == pytest.approx(draws.mean(), abs=1e-4)
    assert found.stderr == pytest.approx(draws.std(), rel=0.01)
    assert found.interval == pytest.approx(np.quantile(draws, [0.025, 0.975]).tolist(), abs=2e-4)
    assert probability_above_zero(found) == pytest.approx((draws > 0).mean(), abs=0.003)


def test_what_is_certain_has_probability_one_or_zero() -> None:
    certain = [probability_above_zero(gain(value, 0.0)) for value in (-1.0, 0.0, 1.0)]
    assert certain == [0.0, 0.5, 1.0]
    assert [percent(p) for p in (0.0, 0.25, 1.0)] == ["under 0.1 %", "25.0 %", "over 99.9 %"]


def test_a_sure_gain_is_kept_and_retraining_has_its_price(summary: lamsearch.Summary) -> None:
    advice = advise(summary, costs=COSTS)
    assert advice.verdict == "keep"
    keep, retrain, aligned = (advice.choice(name) for name in ("keep", "retrain", "aligned"))
    assert keep is not None
    assert retrain is not None
    assert aligned is not None
    assert (keep.passes, retrain.passes, aligned.passes) == (2, 1, 1)
    assert keep.gain == retrain.gain == summary.gain_over_aligned
    assert (retrain.gpu_hours, retrain.price) == (336, 840)
    low, high = summary.lam_interval
    assert advice.beta_interval == pytest.approx((500 / high, 500 / low))
    # Of 8 evaluations the two at the ends take one pass: 14 passes in 16 seconds, per image.
    assert advice.break_even_images == math.ceil(336 * 3600 / (16 / 14))
    assert advice.left == summary.within.expected_loss
    assert advice.left_probability == pytest.approx(1 - summary.within.probability)


def test_without_costs_nothing_is_priced(summary: lamsearch.Summary) -> None:
    advice = advise(summary, costs=CostsConfig())
    retrain = advice.choice("retrain")
    assert retrain is not None
    assert (retrain.gpu_hours, retrain.price, advice.break_even_images) == (None, None, None)
    assert "not given" in drawn(advice_table(advice))
    assert any("at one pass per step; β from" in text for text in sentences(advice))


def test_an_agreement_makes_retraining_less_sure(summary: lamsearch.Summary) -> None:
    emulation = EmulationError("family", 0.01, 0.02, 6)
    retrain = advise(summary, costs=COSTS, emulation=emulation).choice("retrain")
    assert retrain is not None
    assert retrain.gain is not None
    assert summary.gain_over_aligned is not None
    assert retrain.gain.value == pytest.approx(summary.gain_over_aligned.value - 0.01)
    assert retrain.gain.stderr > 0.02
    assert any(
        "agreement 'family'" in text
        for text in sentences(advise(summary, costs=COSTS, emulation=emulation))
    )


def exported(lam: float, difference: float = 0.001, form: Any = "merged") -> ExportDifference:
    """An export that counts as equal where it earns up to about 0.004 more or less."""
    interval = (difference - 0.001, difference + 0.001)
    return ExportDifference(form, lam, difference, 0.0005, interval, 64, 0.005)


def test_the_gain_of_an_export_is_that_of_draws() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.02, 0.008, 400_000) + rng.normal(0.001, 0.0005, 400_000)
    found = exported_gain(gain(0.02, 0.008), exported(0.5))
    assert found.value == pytest.approx(draws.mean(), abs=1e-4)
    assert found.interval == pytest.approx(np.quantile(draws, [0.025, 0.975]).tolist(), abs=2e-4)


@pytest.mark.parametrize("form", ["merged", "lora"])
def test_an_export_that_earns_the_same_is_the_advice(summary: lamsearch.Summary, form: str) -> None:
    export = exported(summary.lam, form=form)
    advice = with_sentences(advise(summary, costs=COSTS, export=export))
    chosen = advice.choice("export")
    assert advice.verdict == "export"
    assert chosen is not None
    assert chosen.gain is not None
    assert summary.gain_over_aligned is not None
    assert chosen.gain.value == pytest.approx(summary.gain_over_aligned.value + 0.001)
    assert advice.break_even_images is None  # the export saves the same pass
    what = {"merged": "merged weights", "lora": "a LoRA"}[form]
    first = f"Export λ* = {summary.lam:.3f} as {what}, at one pass per step: "
    assert advice.sentences[0].startswith(first)
    assert any("equal within ε = 0.005" in text for text in advice.sentences)
    assert f"export {form}" in drawn(advice_table(advice))


def test_an_export_that_may_lose_is_no_advice(summary: lamsearch.Summary) -> None:
    advice = with_sentences(advise(summary, costs=COSTS, export=exported(summary.lam, -0.01)))
    assert advice.verdict == "keep"
    assert advice.break_even_images is not None
    assert any("not shown to be equal within ε" in text for text in advice.sentences)


def test_an_export_that_may_earn_less_than_the_aligned_model_is_no_advice(
    summary: lamsearch.Summary,
) -> None:
    """Being equal within ε says little where the whole gain is less than ε."""
    close = with_gain(summary, 0.002, 0.001)
    assert advise(close, costs=COSTS).verdict == "keep"
    advice = advise(close, costs=COSTS, export=exported(close.lam, -0.003))
    assert advice.verdict == "keep"
    assert advice.break_even_images is not None


def test_a_constraint_can_leave_the_aligned_model_out() -> None:
    """The score rises to λ = 1, the guard falls: λ* lies where both are well."""
    rng = np.random.default_rng(0)
    effect = rng.normal(size=IMAGES)

    def evaluate(lam: float) -> dict[str, np.ndarray]:
        return {"score": effect + lam, "clip": 1 + 0.01 * effect - 0.1 * max(lam - 0.5, 0)}

    guarded = lamsearch.search(evaluate, budget=8, beta=500, constraint="clip >= -1% of reference")
    guarded = dataclasses.replace(guarded, anchor="b500")
    assert 0 < guarded.lam < 1
    advice = with_sentences(advise(guarded, costs=COSTS, export=exported(guarded.lam)))
    assert advice.verdict == "keep"
    assert advice.constraint == "clip >= -1% of reference"
    assert "known to meet 'clip >= -1% of reference'" in advice.sentences[0]
    assert guarded.constraint is not None
    unmet = dataclasses.replace(guarded.constraint, probability=0.5)
    hopeless = advise(dataclasses.replace(guarded, constraint=unmet), costs=COSTS)
    assert (hopeless.verdict, hopeless.constraint) == ("keep", None)
    assert "known to meet" not in with_sentences(hopeless).sentences[0]
    at_0 = dataclasses.replace(guarded, lam=0.0)
    assert "meet 'clip >=" in with_sentences(advise(at_0, costs=COSTS)).sentences[0]


def test_a_negative_lam_is_not_the_reference() -> None:
    found = search(-0.5, bounds=(-0.8, 1.0))
    assert found.lam < 0
    advice = with_sentences(advise(found, costs=COSTS))
    assert advice.verdict == "keep"
    assert advice.choice("retrain") is None


def test_one_pair_of_anchors_has_no_mean(summary: lamsearch.Summary) -> None:
    emulation = EmulationError("family", 0.0, 0.015, 1)
    told = " ".join(sentences(advise(summary, costs=COSTS, emulation=emulation)))
    assert "differed from real ones by 0.015 in the one pair there is" in told


def test_the_best_export_at_lam_is_recalled(tmp_path: Path) -> None:
    study = Study.create("s", f"sqlite:///{tmp_path}/s.db")
    assert recalled_export(study, 0.5) is None
    loses, equal = exported(0.5, -0.01), exported(0.5, form="lora")
    remember_export(study, loses)
    assert recalled_export(study, 0.5) == loses
    remember_export(study, equal)
    assert recalled_export(study, 0.5) == equal
    assert recalled_export(study, 0.51) is None
    assert recalled_export(study, 0.5 + 1e-15) == equal  # another processor's last digit
    remember_export(study, exported(0.5))
    remember_export(study, exported(0.8))
    assert recalled_export(study, 0.5) == exported(0.5)


@pytest.mark.parametrize("stored", [3, [1], {"merged": {"lam": 0.5}}, {"merged": None}, "\x1b"])
def test_what_is_not_a_measurement_is_none(stored: Any, tmp_path: Path) -> None:
    study = Study.create("s", f"sqlite:///{tmp_path}/s.db")
    study.remember(EXPORTS_FACT, stored)
    assert recalled_export(study, 0.5) is None
    remember_export(study, exported(0.5))
    assert recalled_export(study, 0.5) == exported(0.5)


def with_gain(summary: lamsearch.Summary, value: float, stderr: float) -> lamsearch.Summary:
    return dataclasses.replace(summary, gain_over_aligned=gain(value, stderr))


def test_a_gain_that_is_not_sure_asks_for_images_or_for_nothing(
    summary: lamsearch.Summary,
) -> None:
    likely = advise(with_gain(summary, 0.01, 0.01), costs=COSTS)
    assert likely.verdict == "more_images"
    assert likely.more_images is not None
    assert advise(with_gain(summary, -0.01, 0.01), costs=COSTS).verdict == "aligned"
    assert advise(with_gain(summary, 0.01, 0.001), costs=COSTS).verdict == "keep"


@pytest.mark.parametrize(
    ("peak", "lam", "verdict"), [(-0.5, 0.0, "reference"), (1.6, 1.0, "aligned")]
)
def test_at_the_ends_one_model_is_enough(peak: float, lam: float, verdict: str) -> None:
    found = search(peak)
    assert found.lam == lam
    advice = with_sentences(advise(found, costs=COSTS))
    assert advice.verdict == verdict
    assert passes(lam) == 1
    assert advice.choice("retrain") is None
    assert advice.choice("export") is None
    assert advice.break_even_images is None
    assert advice.sentences[0].startswith(f"Use the {verdict}")


def test_without_beta_there_is_no_strength_to_retrain_at(summary: lamsearch.Summary) -> None:
    bare = dataclasses.replace(summary, beta=None, effective_beta=None)
    advice = advise(bare, costs=COSTS)
    assert advice.choice("retrain") is None
    assert advice.beta_interval is None
    assert advice.break_even_images is None
    assert advice.choice("keep") is not None


def test_bounds_that_leave_the_aligned_model_out_have_no_gain_over_it() -> None:
    found = search(0.3, bounds=(0.0, 0.8))
    advice = with_sentences(advise(found, costs=COSTS))
    assert advice.verdict == "keep"
    assert advice.choice("aligned") is None
    assert advice.more_images is not None
    assert advice.more_images.versus == 0
    assert drawn(advice_table(advice))


def test_an_alarm_below_the_answer_is_passed_on(summary: lamsearch.Summary) -> None:
    below, above = Onset(0.2, (0.1, 0.3), (), 64), Onset(0.9, (0.8, 1.0), (), 64)
    told = [
        advise(dataclasses.replace(summary, onset=onset), costs=COSTS) for onset in (below, above)
    ]
    assert [advice.onset for advice in told] == [below, None]
    assert sum("Look at the images first" in text for text in sentences(told[0])) == 1
    assert not any("Look at the images" in text for text in sentences(told[1]))


def test_a_strength_of_zero_lam_is_null_in_json(summary: lamsearch.Summary) -> None:
    wide = dataclasses.replace(summary, lam_interval=(0.0, 0.9))
    advice: Advice = with_sentences(advise(wide, costs=COSTS))
    stored = json.loads(json.dumps(advice.to_json(), allow_nan=False))
    assert advice.beta_interval is not None
    assert advice.beta_interval[1] == math.inf
    assert stored["beta_interval"][1] is None
    assert stored["sentences"] == list(advice.sentences)
    assert "∞" in " ".join(advice.sentences)


def test_the_table_has_a_row_per_choice(summary: lamsearch.Summary) -> None:
    text = drawn(advice_table(with_sentences(advise(summary, costs=COSTS))))
    for words in ("aligned, λ = 1", "keep λ*", "export merged", "retrain at β", "840.00"):
        assert words in text


def test_costs_have_one_form() -> None:
    assert COSTS.alignment_cost == GpuHours(336.0)
