"""Is the strength of a LoRA the λ of the mixture? Merged weights against the exact mixture.

    export OMP_NUM_THREADS=1
    python -m examples.benchmarks.lora_strength --images 320 --output lora_strength.json

Loading a LoRA at strength λ gives the weights (1 − λ)·θ_ref + λ·θ_aligned, as interpolating two
whole denoisers does. DeRaDiff interpolates predictions instead. At λ = 0 and λ = 1 the two are one
model; in between and beyond the script samples both from the same prompts and seeds in the bundled
world, and compares rewards in pairs and images by their pixels. `gain` is what the exact mixture
has over the reference, a yardstick for the difference; so is the images' distance to the reference.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deradiff.exports.merged import merged_components
from examples.benchmarks.environment import environment
from examples.benchmarks.tables import table
from lamsearch.config.expressions import Objective
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import find_settings, load_settings
from lamsearch.evaluation.image_plan import PlannedImage, image_plan
from lamsearch.evaluation.loading import Models, load_anchor
from lamsearch.exports.measurement import Sampled, image_distance, sample_plan
from lamsearch.report.confirmation import paired_difference
from lamsearch.rewards import load_panel

ANCHORS = ("beta250", "beta500", "beta2000")
LAMS = (0.25, 0.5, 0.75, 1.5, 2.0)
REWARD = "pickscore"


def compare(exact: Sampled, merged: Sampled, reference: Sampled) -> dict[str, Any]:
    """Return the paired differences of one anchor at one λ, and the distances of the images."""
    difference = paired_difference(merged.scores, exact.scores)
    gain = paired_difference(exact.scores, reference.scores)
    assert difference is not None
    assert gain is not None
    return {
        "exact": float(exact.scores.mean()),
        "difference": difference[0],
        "stderr": difference[1],
        "interval": difference[2],
        "images": difference[3],
        "gain": gain[0],
        "gain_stderr": gain[1],
        "distance": image_distance(merged.images, exact.images),
        "reference_distance": image_distance(reference.images, exact.images),
    }


def measured(
    name: str, lams: Sequence[float], plan: Sequence[PlannedImage]
) -> list[dict[str, Any]]:
    """Return a row per λ of one anchor."""
    settings = load_settings(find_settings(None))
    chosen = settings.anchor(name)
    anchor = load_anchor(chosen, "cpu")
    panel = load_panel(settings, Objective({REWARD: 1.0}))
    models = Models(settings, chosen, anchor, panel, batch_size=64)
    reference = sample_plan(models, plan, 0.0)
    rows = []
    for lam in lams:
        exact = sample_plan(models, plan, lam)
        merged = dataclasses.replace(anchor, aligned=merged_components(anchor, lam))
        other = sample_plan(dataclasses.replace(models, anchor=merged), plan, 1.0)
        rows.append({"anchor": name, "lam": lam, **compare(exact, other, reference)})
        print(row_text(rows[-1]), flush=True)
    return rows


def row_text(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{row['anchor']} λ {row['lam']:g}: {row['difference']:+.5f} ± {row['stderr']:.5f} "
        f"({low:+.5f} to {high:+.5f}), gain {row['gain']:+.5f}, distance {row['distance']:.4f} "
        f"of {row['reference_distance']:.4f}"
    )


def markdown(result: dict[str, Any]) -> str:
    """Return the table of the docs."""
    rows = {
        f"{row['anchor']}, λ = {row['lam']:g}": (
            f"{1000 * row['gain']:+.1f} ± {1000 * row['gain_stderr']:.1f}",
            f"{1000 * row['difference']:+.2f} ± {1000 * row['stderr']:.2f}",
            f"{row['distance']:.4f}",
            f"{row['reference_distance']:.4f}",
        )
        for row in result["rows"]
    }
    columns = (
        "gain of the mixture",
        "merged − mixture",
        "image distance",
        "reference to mixture",
    )
    title = (
        f"Mean {REWARD}, in thousandths, ± standard error, over {result['images']} images, and "
        "root mean square distances of pixels in [0, 1]:"
    )
    return table(title, columns, rows)


def main(
    images: int = 320,
    anchors: Sequence[str] = ANCHORS,
    lams: Sequence[float] = LAMS,
    output: str | None = None,
) -> dict[str, Any]:
    settings = load_settings(find_settings(None))
    plan = image_plan(read_prompts(settings.require_prompts().file), images, 0)
    rows = [row for name in anchors for row in measured(name, lams, plan)]
    command = f"python -m examples.benchmarks.lora_strength --images {images}"
    result = {
        "command": command,
        "environment": environment(),
        "cpu_seconds": round(time.process_time()),
        "images": images,
        "rows": rows,
    }
    if output is not None:
        Path(output).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{environment()}, {result['cpu_seconds']} s of CPU time\n\n{markdown(result)}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--output")
    main(**vars(parser.parse_args()))
