"""How a search models the curve, proposes λ and answers; and the paper's Algorithm 2 as one choice.

The paper (arXiv 2601.20198, A.5) has one noise variance for all evaluations, improves on the best
observed value and answers with it: `Strategy("ei", "observed", "homoscedastic")`. Chosen together
these three also bring its uniform initial design, its zero mean (of standardised values) and its
RBF kernel. What it leaves open, the hyperparameters, is integrated out as always.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lamsearch.bayesopt.acquisition import ACQUISITIONS
from lamsearch.errors import SettingsError
from lamsearch.surrogate.model import DEFAULT_KERNEL, KERNELS, Surrogate, fit_surrogate
from lamsearch.surrogate.observations import observe

AUTO = "auto"

CHOICES = {
    "acquisition": tuple(ACQUISITIONS),
    "recommend": ("posterior", "observed"),
    "noise": ("paired", "homoscedastic"),
    "kernel": (AUTO, *KERNELS),
}


@dataclass(frozen=True)
class Strategy:
    """The choices, each one of `CHOICES`.

    Attributes:
        acquisition: What decides on the next λ.
        recommend: The answer: argmax of the "posterior" mean, or the best "observed" evaluation.
        noise: What is known of errors: "paired" images, or "homoscedastic", one unknown variance
            for all mean scores.
        kernel: Of the surrogate; "auto" is the paper's "rbf" for Algorithm 2, else "matern".

    Raises:
        SettingsError: If there is no such choice.
    """

    acquisition: str = "auto"
    recommend: str = "posterior"
    noise: str = "paired"
    kernel: str = AUTO

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            given = getattr(self, name)
            if given not in known:
                raise SettingsError(f"{name} {given!r} given, expected one of {', '.join(known)}")

    @property
    def observed(self) -> bool:
        """Whether the answer is the best evaluation as it stands."""
        return self.recommend == "observed"

    @property
    def design(self) -> str:
        """The initial design, as in `lamsearch.bayesopt.initial_design`."""
        return "uniform" if self._is_algorithm_2 else "anchored"

    def fit(
        self, lams: Sequence[float], scores: Sequence[ArrayLike], *, bounds: tuple[float, float]
    ) -> Surrogate:
        """Return the surrogate of n ≥ 1 evaluations, given as to `observe`."""
        observations = observe(lams, scores)
        if self.noise == "homoscedastic":
            means = [float(np.nanmean(np.asarray(row))) for row in scores]
            # The images' common offset is part of the answer's error all the same.
            observations = dataclasses.replace(
                observe(lams, means), offset_variance=observations.offset_variance
            )
        return fit_surrogate(
            observations,
            bounds=bounds,
            kernel=self._kernel,
            constant_mean=not self._is_algorithm_2,
        )

    def manifest(self) -> dict[str, str]:
        """Return the choices by name, as JSON."""
        return {**dataclasses.asdict(self), "kernel": self._kernel}

    @property
    def _kernel(self) -> str:
        if self.kernel != AUTO:
            return self.kernel
        return "rbf" if self._is_algorithm_2 else DEFAULT_KERNEL

    @property
    def _is_algorithm_2(self) -> bool:
        return (self.acquisition, self.recommend, self.noise) == ("ei", "observed", "homoscedastic")
