"""A family: anchors of one reference, aligned at different strengths, and who emulates whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deradiff.agreement import emulating_lam
from lamsearch.config.settings import AnchorSettings, Settings
from lamsearch.errors import SettingsError

_SHARED = ("reference", "config", "variant", "sampling")
"""What the anchors of a family have in common."""


@dataclass(frozen=True)
class Family:
    """Anchors of one reference.

    Attributes:
        anchors: At least two, by ascending β, all different.
    """

    anchors: tuple[AnchorSettings, ...]

    @classmethod
    def from_settings(cls, settings: Settings, names: Sequence[str]) -> Family:
        """Return the family of the anchors of these names.

        Raises:
            SettingsError: If there are fewer than two, one has no β or that of another, or they
                have different references or sampling settings.
        """
        anchors = [settings.anchor(name) for name in dict.fromkeys(names)]
        if len(anchors) < 2:
            raise SettingsError(
                f"anchor {', '.join(names) or 'none'} given, expected at least two of one "
                "reference, aligned at different β"
            )
        for anchor in anchors:
            if anchor.beta is None:
                raise SettingsError(
                    f"anchor {anchor.name} has no beta: only anchors with a known KL strength can "
                    "be compared; leave it out, or add beta to its table"
                )
            if anchor.sampling.aligned_steps is not None:
                raise SettingsError(
                    f"anchor {anchor.name} has aligned_steps: sampled so, it is no model that was "
                    "aligned from scratch; leave it out of [anchors.NAME.sampling]"
                )
        ordered = tuple(sorted(anchors, key=beta_of))
        for one, other in pairwise(ordered):
            if one.beta == other.beta:
                raise SettingsError(
                    f"anchors {one.name} and {other.name} both have beta = {one.beta:g}: expected "
                    "one anchor for each strength"
                )
            differing = [key for key in _SHARED if getattr(one, key) != getattr(other, key)]
            if differing:
                raise SettingsError(
                    f"anchors {one.name} and {other.name} have different {', '.join(differing)}: "
                    "expected one reference, sampled alike for all of them"
                )
        return cls(ordered)

    def require_fits(self, stored: Mapping[str, float]) -> None:
        """Refuse a family that contradicts the anchors of an agreement, β by name.

        Raises:
            SettingsError: If an anchor has another β there, or another one has its β.
        """
        for anchor in self.anchors:
            for name, beta in stored.items():
                if (name == anchor.name) != (beta == anchor.beta):
                    raise SettingsError(
                        f"anchor {anchor.name} has beta = {anchor.beta:g}, and the agreement holds "
                        f"{name} with beta = {beta:g}: name a new one with --study"
                    )

    def lams(self, anchor: AnchorSettings) -> tuple[float, ...]:
        """Return the λs to evaluate an anchor at.

        λ = 1, the anchor itself, first; then β_a/β_t for every other strength β_t. The first
        anchor evaluates λ = 0 too, the reference that all have in common.
        """
        others = [
            emulating_lam(beta_of(anchor), beta_of(target))
            for target in self.anchors
            if target != anchor
        ]
        return (1.0, *([0.0] if anchor == self.anchors[0] else []), *others)


def beta_of(anchor: AnchorSettings) -> float:
    """Return the KL strength of a family's anchor."""
    assert anchor.beta is not None
    return anchor.beta
