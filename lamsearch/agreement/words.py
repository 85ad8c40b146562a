"""An agreement in words: how far β/λ can be trusted, over which range of λ."""

from __future__ import annotations

from deradiff.agreement import ErrorStatistics
from lamsearch.agreement.results import EmulatedPeak, RewardAgreement, Trust


def sentence(found: RewardAgreement) -> str:
    """Return the result of one reward in words."""
    strengths = [m.strength for m in found.members if m.anchor is not None]
    images = min(e.images for e in found.emulations)
    parts = [
        f"β {min(strengths):g} to {max(strengths):g}, {found.reward}, {images} images: a realigned "
        "anchor's mean misses that of a model aligned from scratch by "
        + ", and by ".join(
            _missed(statistics, side, found)
            for statistics, side in (
                (found.statistics.interpolated, "λ < 1"),
                (found.statistics.extrapolated, "λ > 1"),
            )
            if statistics is not None
        )
    ]
    trust = found.trust
    within = f"within {100 * trust.share:g} % of that range"
    if trust.low < trust.high:
        text = f"every pair with λ from {trust.low:.3g} to {trust.high:.3g} is {within}"
        parts.append(f"{text} ({_surely(trust)})")
    else:
        parts.append(f"next to λ = 1 no pair is {within}")
    if found.peak is not None and not found.peak.at_edge:
        parts.append(_peaks(found, found.peak.beta))
    return "; ".join(parts)


def _surely(trust: Trust) -> str:
    if trust.surely_low == trust.surely_high:
        return "none for sure: more images would tell"
    if (trust.surely_low, trust.surely_high) == (trust.low, trust.high):
        return "at 95 % confidence too"
    return f"at 95 % confidence, from {trust.surely_low:.3g} to {trust.surely_high:.3g}"


def _missed(statistics: ErrorStatistics, side: str, found: RewardAgreement) -> str:
    mean, interval = statistics.mean_absolute_error, statistics.image_bootstrap
    text = f"{mean.value:.2g} on average for {side} ({mean.percent_of_range:.1f} %"
    if statistics is (found.statistics.interpolated or found.statistics.extrapolated):
        text += " of the curve's range"
    if interval is not None:
        low, high = interval.lower.percent_of_range, interval.upper.percent_of_range
        text += f", 95 % interval {low:.1f} to {high:.1f} %"
    worst = 100 * statistics.distribution.maximum / found.curve_range
    return f"{text}; at most {worst:.1f} %)"


def _peaks(found: RewardAgreement, beta: float) -> str:
    weaker = [
        each
        for each in found.emulated_peaks
        if each.beta_anchor < beta and not each.shift.emulated.at_edge
    ]
    text = f"the best strength from scratch is β = {beta:.0f}"
    if not weaker:
        return text
    off = [100 * (each.shift.ratio - 1) for each in weaker]
    return (
        f"{text}, from anchors of smaller β {_span(weaker)} ({min(off):+.0f} to {max(off):+.0f} %)"
    )


def _span(peaks: list[EmulatedPeak]) -> str:
    betas = [each.shift.emulated.beta for each in peaks]
    return f"{min(betas):.0f} to {max(betas):.0f}" if len(betas) > 1 else f"{betas[0]:.0f}"
