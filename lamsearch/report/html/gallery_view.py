"""What the slider shows: the same prompts and seeds at every evaluated λ, with their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamsearch.report.html.numbers import number
from lamsearch.report.html.pictures import Picture, Pictures
from lamsearch.report.html.words import lam_decimals, score_decimals, unbroken
from lamsearch.report.rows import beta_text

if TYPE_CHECKING:
    from lamsearch.report.summary import Summary


@dataclass(frozen=True)
class Frame:
    """One evaluated λ.

    Attributes:
        lam: λ.
        label: λ as text.
        strength: β/λ as text, empty where there is no β.
        value: The mean score as text.
    """

    lam: float
    label: str
    strength: str
    value: str


@dataclass(frozen=True)
class Shown:
    """One prompt and seed over λ.

    Attributes:
        prompt: The prompt; empty where it is not stored.
        pictures: Its image at every frame, None where none was kept.
        scores: Its score at every frame, None where there is none.
    """

    prompt: str
    pictures: tuple[Picture | None, ...]
    scores: tuple[float | None, ...]


@dataclass(frozen=True)
class Jump:
    """A λ that is one click away.

    Attributes:
        label: What it is.
        frame: Index of the evaluated λ that is nearest to it.
        detail: Which λ that is, empty where it is the very one.
    """

    label: str
    frame: int
    detail: str


@dataclass(frozen=True)
class GalleryView:
    """The gallery.

    Attributes:
        frames: The evaluated λs, ascending.
        images: The images, in the order of the plan; empty if none were kept.
        jumps: λ = 0, λ* and λ = 1, as far as the bounds contain them.
        before: Index of the frame to compare with at first: that nearest to the reference.
        after: Index of the frame to show at first: that nearest to λ*.
        places: Decimals of scores.
    """

    frames: tuple[Frame, ...]
    images: tuple[Shown, ...]
    jumps: tuple[Jump, ...]
    before: int
    after: int
    places: int

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script needs."""
        return {
            "frames": [vars(frame) for frame in self.frames],
            "images": [
                {
                    "pictures": [None if p is None else p.source for p in shown.pictures],
                    "scores": shown.scores,
                }
                for shown in self.images
            ],
            "before": self.before,
            "after": self.after,
            "places": self.places,
        }

    def caption(self, shown: Shown) -> str:
        """Return an image's score at `after`, and its change against `before`."""
        score, other = shown.scores[self.after], shown.scores[self.before]
        if score is None:
            return "not scored"
        text = f"score {number(score, self.places)}"
        if other is None or self.before == self.after:
            return text
        change = number(score - other, self.places, signed=True)
        return unbroken(f"{text}, {change} against λ = {self.frames[self.before].label}")


def gallery_view(
    summary: Summary,
    prompts: Sequence[str],
    pictures: Pictures,
    scores: Mapping[float, Mapping[int, float]],
) -> GalleryView:
    """Return the gallery; images that were kept at one λ only are left out: nothing to compare."""
    rows = sorted({e.lam: e for e in summary.evaluations}.items())
    places, lam_places = score_decimals(summary), lam_decimals(summary)
    frames = tuple(
        Frame(
            lam=lam,
            label=f"{lam:g}" if lam in (0.0, 1.0) else number(lam, lam_places),
            strength="" if row.effective_beta is None else beta_text(row.effective_beta),
            value=number(row.value, places),
        )
        for lam, row in rows
    )
    lams = [frame.lam for frame in frames]
    count = max((len(row) for row in pictures.values()), default=0)
    images = [_shown(index, lams, prompts, pictures, scores) for index in range(count)]
    return GalleryView(
        frames=frames,
        images=tuple(each for each in images if sum(p is not None for p in each.pictures) > 1),
        jumps=tuple(_jumps(summary, frames)),
        before=_nearest(lams, 0.0),
        after=_nearest(lams, summary.lam),
        places=places,
    )


def _shown(
    index: int,
    lams: Sequence[float],
    prompts: Sequence[str],
    pictures: Pictures,
    scores: Mapping[float, Mapping[int, float]],
) -> Shown:
    found, numbers = [], []
    for lam in lams:
        row = pictures.get(lam, ())
        found.append(row[index] if index < len(row) else None)
        score = scores.get(lam, {}).get(index, math.nan)
        numbers.append(score if math.isfinite(score) else None)
    prompt = prompts[index] if index < len(prompts) else ""
    return Shown(prompt, tuple(found), tuple(numbers))


def _jumps(summary: Summary, frames: Sequence[Frame]) -> list[Jump]:
    low, high = summary.surrogate.bounds
    lams = [frame.lam for frame in frames]
    targets = (("λ = 0, reference", 0.0), ("λ*", summary.lam), ("λ = 1, aligned", 1.0))
    found = []
    for label, lam in targets:
        if low <= lam <= high:
            nearest = _nearest(lams, lam)
            exact = abs(lams[nearest] - lam) <= 1e-9 * max(high - low, 1.0)
            found.append(Jump(label, nearest, "" if exact else f"nearest {frames[nearest].label}"))
    return found


def _nearest(lams: Sequence[float], lam: float) -> int:
    return min(range(len(lams)), key=lambda index: abs(lams[index] - lam))
