"""How well the alarm for reward hacking finds its onset in the bundled world, where it is known.

    python -m examples.benchmarks.hacking_alarm --seeds 10 --images 64 \
        --reader digit_reader.safetensors --output examples/benchmarks/results/hacking_alarm.json

The world's people want the digit that they asked for, and a network reads it: hacking begins where
the share of right digits falls. The alarm knows neither digits nor network, only what `lamsearch
run` stores of each image. For every anchor and seed this evaluates a plan of images at evenly
spaced λs and asks the summary for the onset; the digits are read on the images of all seeds
together. The reader knows real scans only and is trained first if READER is absent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from examples.benchmarks.records import header
from examples.benchmarks.tables import table
from examples.miniature.data import asked_for
from examples.miniature.readers import Readers, train_digit_reader
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import as_tensor
from lamsearch.config.expressions import parse_objective
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import find_settings, load_settings
from lamsearch.evaluation.image_plan import PlannedImage, image_plan
from lamsearch.evaluation.loading import Models, load_models
from lamsearch.loop import search_loop
from lamsearch.report.onset import Onset
from lamsearch.report.summarize import summarize
from lamsearch.study.database import Study
from lamsearch.study.fixed_lams import FixedLams
from lamsearch.study.proposal import Budget

ANCHORS = ("beta250", "beta500", "beta1000", "beta2000")
LAMS = tuple(i / 8 for i in range(9))
MARKS = (0.99, 0.98, 0.95)
"""Shares of the reference's right digits that mark where hacking shows."""


@dataclass(frozen=True)
class AnchorResult:
    """What was found for one anchor.

    Attributes:
        right_digits: Share of right digits at each λ, over the images of all seeds.
        onsets: The alarm's onset for each seed, None where it stayed silent.
    """

    right_digits: Sequence[float]
    onsets: Sequence[Onset | None]

    def reaches(self, mark: float, lams: Sequence[float]) -> float | None:
        """Return the λ at which the share falls to this part of the reference's, None for none."""
        if not self.right_digits[0]:
            return None
        kept = np.minimum.accumulate(np.array(self.right_digits) / self.right_digits[0])
        return float(np.interp(-mark, -kept, lams)) if kept[-1] <= mark else None


class DigitCounts:
    """Counts right digits at each λ.

    Args:
        readers: What reads them.
        prompts: Of the plan's images.
    """

    def __init__(self, readers: Readers, prompts: Sequence[str]) -> None:
        self._readers, self._digits = readers, asked_for(list(prompts))[0]
        self.right: dict[float, list[bool]] = {}

    def __call__(self, lam: float, ids: Sequence[int], images: Sequence[Image | None]) -> None:
        """Read the images of a batch, as `ImageEvaluation` shows them."""
        pixels = np.stack([np.asarray(image) for image in images if image is not None])
        asked = [self._digits[i] for i, image in zip(ids, images, strict=True) if image is not None]
        read = self._readers(as_tensor(pixels)).digits.argmax(1)
        found = [bool(r == a) for r, a in zip(read, asked, strict=True)]
        self.right.setdefault(lam, []).extend(found)


def models_of(anchor: str) -> Models:
    settings = load_settings(find_settings())
    objective = parse_objective("pickscore", settings.rewards)
    return load_models(
        settings,
        settings.anchor(anchor),
        objective=objective,
        tracked=("clip", "hps"),
        device="cpu",
        batch_size=64,
    )


def find(
    models: Models, plan: Sequence[PlannedImage], readers: Readers, lams: Sequence[float]
) -> tuple[Onset | None, Mapping[float, list[bool]]]:
    """Return the onset of one plan, and which of its digits are right at each λ."""
    counts = DigitCounts(readers, [image.prompt for image in plan])
    study = Study.create("alarm", None)
    with models.evaluation(plan, counts) as evaluation:
        study.bind(models.manifest(plan))
        search_loop(study, evaluation, policy=FixedLams(lams, len(plan)), budget=Budget())
    return summarize(study).onset, counts.right


def measure(
    anchor: str, seeds: int, images: int, *, readers: Readers, lams: Sequence[float]
) -> AnchorResult:
    models = models_of(anchor)
    prompts = read_prompts(models.settings.require_prompts().file)
    found = [find(models, image_plan(prompts, images, s), readers, lams) for s in range(seeds)]
    right = [float(np.mean([ok for _, digits in found for ok in digits[lam]])) for lam in lams]
    return AnchorResult(right, [onset for onset, _ in found])


def row(result: AnchorResult, lams: Sequence[float]) -> list[str]:
    at = [result.reaches(mark, lams) for mark in MARKS]
    onsets: NDArray[np.float64] = np.array([o.lam for o in result.onsets if o is not None])
    first = sorted({o.shifts[0].name for o in result.onsets if o is not None})
    span = f"{onsets.mean():.2f} ({onsets.min():.2f} to {onsets.max():.2f})" if len(onsets) else "–"
    return [
        f"{100 * result.right_digits[-1]:.1f} %",
        *("–" if lam is None else f"{lam:.2f}" for lam in at),
        f"{len(onsets)} of {len(result.onsets)}",
        span,
        ", ".join(first) or "–",
    ]


def report(results: Mapping[str, AnchorResult], lams: Sequence[float], images: int) -> str:
    marks = [f"{100 * mark:g} % of them at λ" for mark in MARKS]
    columns = ["right digits at λ = 1", *marks, "alarms", "onset (range)", "first to leave"]
    rows = {name: row(result, lams) for name, result in results.items()}
    return table(f"The alarm on plans of {images} images", columns, rows)


def readers_of(path: Path) -> Readers:
    if not path.is_file():
        train_digit_reader(Recipe(), path)
    return Readers(path)


def main(
    seeds: int = 10,
    images: int = 64,
    reader: str = "digit_reader.safetensors",
    output: str | None = None,
    anchors: Sequence[str] = ANCHORS,
    lams: Sequence[float] = LAMS,
) -> dict[str, AnchorResult]:
    readers, results = readers_of(Path(reader)), {}
    for anchor in anchors:
        results[anchor] = measure(anchor, seeds, images, readers=readers, lams=lams)
        print(f"{anchor} measured", flush=True)
    print(report(results, lams, images))
    if output is not None:
        command = f"python -m examples.benchmarks.hacking_alarm --seeds {seeds} --images {images}"
        found: dict[str, Any] = {name: asdict(result) for name, result in results.items()}
        stored = {**header(command), "lams": list(lams), "anchors": found}
        Path(output).write_text(json.dumps(stored, indent=1) + "\n")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--reader", default="digit_reader.safetensors")
    parser.add_argument("--output")
    main(**vars(parser.parse_args()))
