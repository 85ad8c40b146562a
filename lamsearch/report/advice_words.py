"""An advice in sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import MappingProxyType

from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.advice import Advice
from lamsearch.report.exported import ExportDifference
from lamsearch.report.more_images import MoreImages
from lamsearch.report.rows import beta_text

FORMS = MappingProxyType({"merged": "merged weights", "lora": "a LoRA"})
"""What an export is, by its form."""


def with_sentences(advice: Advice) -> Advice:
    """Return the advice with its sentences."""
    return dataclasses.replace(advice, sentences=tuple(sentences(advice)))


def sentences(advice: Advice) -> Iterator[str]:
    """Yield what to do, why, and what it costs, a sentence each."""
    yield _verdict(advice)
    if advice.onset is not None:
        yield (
            f"Look at the images first: from λ = {advice.onset.lam:.2f} on they leave the "
            "reference's range, which may be reward hacking."
        )
    yield from _retraining(advice)
    if advice.choice("export") is not None:
        yield _exporting(advice.export)
    if advice.more_images is not None:
        yield _more(advice.more_images, advice.reward or "score")


def change(gain: Gain) -> str:
    """Return a gain with its interval."""
    low, high = gain.interval
    return f"{gain.value:+.5f} (95 % {low:+.5f} to {high:+.5f})"


def percent(probability: float) -> str:
    """Return a probability in percent, never rounded to certainty."""
    if 0.001 < probability < 0.999:
        return f"{100 * probability:.1f} %"
    return "over 99.9 %" if probability > 0.5 else "under 0.1 %"


def amount(gpu_hours: float | None, price: float | None) -> str:
    """Return what something costs."""
    if gpu_hours is None:
        return "not given"
    if gpu_hours == 0:
        return "nothing"
    money = "" if price is None else f", {price:,.2f}"
    return (
        f"{gpu_hours:,.3g} GPU-hours{money}"
        if gpu_hours < 1000
        else f"{gpu_hours:,.0f} GPU-hours{money}"
    )


def _verdict(advice: Advice) -> str:
    keep = advice.choice("keep")
    assert keep is not None
    if advice.verdict == "reference":
        guard = "" if advice.constraint is None else f" and to meet '{advice.constraint}'"
        return f"Use the reference: no λ of this alignment is known to earn more{guard}."
    if advice.verdict == "aligned":
        if advice.lam == 1:
            return "Use the aligned model as it is: λ* = 1, at one pass per step."
        return (
            f"Use the aligned model as it is, at one pass per step: that λ* = {advice.lam:.3f} "
            f"earns more is not sure{_chance(keep.probability)}."
        )
    if advice.verdict == "more_images":
        return (
            f"Generate more images before you decide: λ* = {advice.lam:.3f} probably earns more "
            f"than the aligned model{_chance(keep.probability)}, but that is not sure."
        )
    if advice.verdict == "export":
        assert advice.export is not None
        chosen, do = advice.choice("export"), "Export"
        form = f" as {FORMS[advice.export.form]}"
    else:
        chosen, do, form = keep, "Keep", ""
    assert chosen is not None
    gain = "" if chosen.gain is None else f": {change(chosen.gain)} over the aligned model"
    if advice.constraint is not None:
        gain = f" (the best that is known to meet '{advice.constraint}'){gain}"
    count = "two passes" if chosen.passes == 2 else "one pass"
    chance = _chance(chosen.probability)
    return f"{do} λ* = {advice.lam:.3f}{form}, at {count} per step{gain}{chance}."


def _exporting(export: ExportDifference | None) -> str:
    if export is None:
        return (
            "Exporting merged weights gives one model and one pass per step; what that loses "
            "against the mixture is measured by lamsearch export --as merged."
        )
    low, high = export.interval
    found = "equal" if export.is_equal else "not shown to be equal"
    return (
        f"Exported as {FORMS[export.form]}, λ* earned {export.difference:+.5f} (95 % {low:+.5f} to "
        f"{high:+.5f}, {export.images} images) against the mixture: {found} within ε = "
        f"{export.epsilon:.2g}."
    )


def _chance(probability: float | None) -> str:
    return "" if probability is None else f", better with probability {percent(probability)}"


def _retraining(advice: Advice) -> Iterator[str]:
    retrain = advice.choice("retrain")
    if retrain is None or advice.beta_interval is None:
        return
    low, high = map(beta_text, advice.beta_interval)
    expected = (
        "" if retrain.gain is None else f" would earn {change(retrain.gain)} over the aligned model"
    )
    hours, price = retrain.gpu_hours, retrain.price
    cost = "" if hours is None else f", for {amount(hours, price)}"
    yield (
        f"A model aligned from scratch at β/λ* = {beta_text(advice.effective_beta)}{expected}"
        f"{_chance(retrain.probability)}, at one pass per step{cost}; β from {low} to {high} is "
        "worth trying."
    )
    yield (
        f"The best β there is expected to earn {advice.left:.2g} more than β/λ*, and more than "
        f"{advice.epsilon:.2g} with probability {percent(advice.left_probability)}."
    )
    emulation = advice.emulation
    if emulation is None:
        yield (
            "That a real model earns what the mixture does is assumed: no agreement of this "
            "reference and reward is stored (lamsearch agree measures one)."
        )
    else:
        differ = (
            f"earned {emulation.mean:+.2g} ± {emulation.deviation:.2g} (mean and deviation over "
            f"{emulation.pairs} pairs) more than real ones"
            if emulation.pairs > 1
            else f"differed from real ones by {emulation.deviation:.2g} in the one pair there is"
        )
        yield (
            f"In agreement '{emulation.study}' realigned models {differ}, which the figures above "
            "take into account."
        )
    if advice.break_even_images is not None:
        yield (
            "Retraining saves one of two passes, so it pays for itself after "
            f"{advice.break_even_images:,} images or later."
        )


def _more(more: MoreImages, reward: str) -> str:
    other = "aligned model" if more.versus == 1 else "reference"
    now = f"the standard error of the gain over the {other}, {more.stderr:.2g} in {reward},"
    if more.factor is None:
        return f"More images alone would not halve {now} evaluate more λs (--budget)."
    how = (
        f"{more.images:,} more images (a larger --budget) are expected to halve "
        f"{now.removesuffix(',')}"
        if more.continues
        else f"A new study with --images {more.images_per_lam}, {more.images:,} images in all, "
        f"is expected to halve {now.removesuffix(',')}"
    )
    if more.hours is None:
        return f"{how}."
    money = "" if more.price is None else f", for {more.price:,.2f}"
    return f"{how}; at the speed of this study that takes {_duration(more.hours)}{money}."


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.2g} minutes"
    return f"{hours:,.3g} hours" if hours < 1000 else f"{hours:,.0f} hours"
