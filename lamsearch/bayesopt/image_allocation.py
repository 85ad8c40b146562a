"""New λ, or more images at the λs that matter: the next step of a search whose budget is images.

The image plan is an ordered list. Every evaluated λ has seen a beginning of it, and a step makes
the beginning longer at one λ, be it new (then from nothing). Both kinds of step are judged by one
question, that of the knowledge gradient: by how much will the largest posterior mean rise, on
average? The largest rise per image wins.

| symbol | code | meaning | shape |
|---|---|---|---|
| c_j | `counts` | images that λ_j has seen, the first of the plan | n |
| V | `comparison_covariance` | of the errors of the differences of J, for given counts | (n, n) |
| W | `kriging_weights` | the posterior mean on the line is Wᵀy, but for a constant | (n, g) |
| μ | `means` | posterior mean on the line | (g,) |
| S, L | `members`, `level` | λs that are raised together, and to how many images | |

An image seen at one λ only says nothing of differences of J. So what is judged are sets S raised
to a common level L. They turn V₀ into V₁, y moves by a Gaussian of covariance V₀ − V₁, and the
mean by one of covariance Wᵀ(V₀ − V₁)W; the cost is Σ_S (L − c_j). A step is done at one λ of the
set. It leaves V as it is as long as no other λ has its new images, so what is left of the set gains
as much for fewer images, and the next decision continues with it, or with another set of that λ
that has become better still.

A new λ gets as many images as the fewer of its two neighbours in λ, at least `LEAST_NEW`: it is
compared with them first of all, image by image, and where the search has come close to the best
λ, fewer would not tell it from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.bayesopt.acquisition import next_lam
from lamsearch.bayesopt.knowledge_gradient import knowledge_gradient
from lamsearch.bayesopt.line_search import Feasible, probable_line
from lamsearch.surrogate.comparison import comparison_covariance
from lamsearch.surrogate.model import Surrogate, square_root

BLOCK = 16
"""Number of images by which a set is raised."""

LEAST_NEW = 2 * BLOCK
"""Least number of images at a new λ, unless the budget ends."""

_NEAREST = range(2, 6)
_DRAWS = 1024


class Step(NamedTuple):
    """Images start, …, stop − 1 of the plan, to be generated at λ."""

    lam: float
    start: int
    stop: int


class _Option(NamedTuple):
    """A step, the gain of its set (or new λ) in units of J, and its cost in images."""

    step: Step
    gain: float
    cost: int

    @property
    def worth(self) -> float:
        return self.gain / self.cost


def next_step(
    surrogate: Surrogate,
    counts: Sequence[int],
    *,
    limit: int,
    pending: Sequence[Step] = (),
    feasible: Feasible | None = None,
    acquisition: str = "auto",
) -> Step:
    """Return the step that raises the largest posterior mean most per image, a pure function.

    Where errors are independent (plain numbers) no image can be added, and where fewer than
    `LEAST_NEW` images are left no new λ is begun, unless there is nothing else to do.

    Args:
        surrogate: Fitted to n evaluated λs, all different.
        counts: Images that each of them has seen, n numbers ≥ 1.
        limit: Images left in the budget, ≥ 1; those of pending steps are not among them.
        pending: Steps of other workers; they count as done, new λs as evaluated with the expected
            outcome. A λ where every evaluation failed counts as one of these, with no images.
        feasible: Probability that a constraint holds.
        acquisition: What proposes new λs, as in `next_lam`.

    Raises:
        ValueError: If the counts are not those of the evaluated λs, or nothing is left.
    """
    lams = surrogate.observations.lams.tolist()
    if len(counts) != len(lams) or min(counts) < 1 or limit < 1:
        raise ValueError(f"{len(lams)} counts ≥ 1 and limit ≥ 1 expected: {counts}, {limit}")
    new = [step.lam for step in pending if step.lam not in lams]
    lam = next_lam(surrogate, acquisition=acquisition, pending=new, feasible=feasible)
    if surrogate.observations.image_noise is None:
        return Step(lam, 0, min(LEAST_NEW, limit))
    model = surrogate.believe(torch.tensor(new, dtype=torch.float64)) if new else surrogate
    counts = _with_pending(lams, counts, pending)
    options = _options(model, lam, counts, limit=limit, feasible=feasible)
    return max(options, key=lambda option: option.worth).step


def _options(
    model: Surrogate, lam: float, counts: Sequence[int], *, limit: int, feasible: Feasible | None
) -> list[_Option]:
    """Return all sets that the limit allows to raise, and the new λ."""
    line = probable_line(model.bounds, feasible)
    options = list(_raises(model, counts, line=line, limit=limit))
    if limit >= LEAST_NEW or not options:
        level = _neighbours_level(lam, model.observations.lams.tolist(), counts)
        options.append(_new(model, Step(lam, 0, min(level, limit)), line=line, feasible=feasible))
    return options


def _with_pending(
    lams: Sequence[float], counts: Sequence[int], pending: Sequence[Step]
) -> list[int]:
    """Return the counts once the pending steps are done."""
    return [
        max([count, *(step.stop for step in pending if step.lam == lam)])
        for lam, count in zip(lams, counts, strict=True)
    ]


def _new(model: Surrogate, step: Step, *, line: Tensor, feasible: Feasible | None) -> _Option:
    """Return the option of a new λ, its gain weighed by the probability that it is feasible."""
    lam = torch.tensor([step.lam], dtype=torch.float64)
    gain = knowledge_gradient(model.mean(line), *model.predictive(lam, line)).item()
    probability = 1.0 if feasible is None else feasible(lam).item()
    return _Option(step, gain * probability, step.stop)


def _neighbours_level(lam: float, lams: Sequence[float], counts: Sequence[int]) -> int:
    """Return the images of a new λ: those that both its neighbours have, at least `LEAST_NEW`."""
    seen = sorted(zip(lams, counts, strict=True))
    below, above = [s for s in seen if s[0] <= lam], [s for s in seen if s[0] > lam]
    return max(min(count for _, count in (*below[-1:], *above[:1])), LEAST_NEW)


def _raises(
    model: Surrogate, counts: Sequence[int], *, line: Tensor, limit: int
) -> Iterator[_Option]:
    """Yield the sets that can be raised within the limit."""
    lams = model.observations.lams.tolist()
    means = model.mean(line)
    gain = _Gain(model, counts, line=line, means=means)
    for members in _sets(lams, line[means.argmax()].item()):
        for level in _levels([counts[j] for j in members], limit):
            raised = [max(c, level) if j in members else c for j, c in enumerate(counts)]
            last = min(members, key=lambda j: (counts[j], lams[j]))
            step = Step(lams[last], counts[last], level)
            yield _Option(step, gain(raised), sum(raised) - sum(counts))


def _sets(lams: Sequence[float], best: float) -> list[frozenset[int]]:
    """Return sets of λs to raise, by index: around λ*, also with the ends 0 and 1, and all."""
    nearest = sorted(range(len(lams)), key=lambda j: (abs(lams[j] - best), lams[j]))
    ends = [j for j, lam in enumerate(lams) if lam in (0.0, 1.0)]
    sets = [nearest[:size] for size in _NEAREST]
    sets += [[*nearest[:2], *ends], nearest]
    return list(dict.fromkeys(map(frozenset, sets)))


def _levels(counts: Sequence[int], limit: int) -> list[int]:
    """Return the levels to raise a set to: its largest count and a block more, within the limit.

    Levels that cost nothing are left out.
    """
    levels = {_affordable(counts, level, limit) for level in (max(counts), max(counts) + BLOCK)}
    return sorted(level for level in levels if level > min(counts))


def _affordable(counts: Sequence[int], level: int, limit: int) -> int:
    """Return the largest level up to `level` that costs no more images than the limit."""
    while sum(max(level - count, 0) for count in counts) > limit:
        level -= 1
    return level


class _Gain:
    """Expected rise of the largest posterior mean when the counts are raised.

    Args:
        model: The surrogate.
        counts: Images now.
        line: (g,) where the maximum may lie.
        means: (g,) posterior mean there.
    """

    def __init__(
        self, model: Surrogate, counts: Sequence[int], *, line: Tensor, means: Tensor
    ) -> None:
        noise = model.observations.image_noise
        assert noise is not None
        n = len(counts)
        self._scatter = noise.scatter
        self._covariance = comparison_covariance(self._scatter, counts)
        # Pending new λs have weights too, but their images stay as they are.
        self._weights = model.kriging_weights(line)[:n]
        self._means = means
        generator = torch.Generator().manual_seed(0)
        self._normal = torch.randn(n, _DRAWS, dtype=torch.float64, generator=generator)

    def __call__(self, raised: Sequence[int]) -> float:
        moves = self._covariance - comparison_covariance(self._scatter, raised)
        changes = self._weights.T @ (square_root(moves) @ self._normal)
        # Less what stays with the present best, which is zero on average: an exact zero for no
        # move, and far less scatter for small ones.
        means = self._means[:, None] + changes
        return (means.max(dim=0).values - means[self._means.argmax()]).mean().item()
