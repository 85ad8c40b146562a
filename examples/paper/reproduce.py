"""The paper's experiments in the bundled world: tables, figures, and what they cost.

    python -m examples.paper.reproduce --output DIR

writes DIR/README.md, which says what is where, by the numbers of arXiv 2601.20198. An interrupted
run goes on where it was: images that were scored are kept in DIR/studies.db.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch
from rich.console import Console

import lamsearch
from examples.benchmarks.environment import environment
from examples.paper import cost, reward_hacking
from examples.paper.family_images import FamilyImages, write_strip
from lamsearch.agreement.files import write_files
from lamsearch.agreement.table import Grid, markdown
from lamsearch.evaluation.loading import default_device
from lamsearch.report.figure import draw
from lamsearch.report.progress import SearchProgress

BETAS = (250, 500, 750, 1000, 2000, 5000, 8000, 10_000)
SEARCH_IMAGES = 64
REWARDS = ("pickscore", "clip", "hps")
STRIPS = {
    "fig2-interpolated": [0.0, 0.25, 0.5, 0.75, 1.0],
    "fig6-hacked": [0.25, 0.5, 0.75, 1.0, 1.5],
    "fig10-extrapolated": [1.0, 1.25, 1.5, 2.0, 3.0],
}

CONTENTS = """# The paper in the bundled world

`{command}`, with {environment}; {images} images of every model.

| paper | here |
|---|---|
| Tables 1, 2, 5 to 17; Fig. 11 to 22 | `agreement/agreement.md`, `agreement/*-matrix.png` |
| Fig. 3 and its like | `agreement/*-error-distribution.png` |
| Fig. 4, 8, 9 | `agreement/*-lines.png` |
| Fig. 5a, 5b | `agreement/*-scatter.png`, `agreement/*-bland-altman.png` |
| Fig. 7 | `fig7-search.png` |
| Fig. 2, 6, 10 | `fig2-interpolated.png`, `fig6-hacked.png`, `fig10-extrapolated.png` |
| Table 3, section 6 | below |

{sentences}

The search on `beta500` under {reward}: λ* = {lam:.3f}, 95 % interval {low:.3f} to {high:.3f};
β/λ* = {beta:.0f}.

{tables}"""


def main(
    output: str,
    images: int = 500,
    betas: tuple[int, ...] = BETAS,
    rewards: tuple[str, ...] = REWARDS,
    budget: int = 12,
    device: str | None = None,
) -> str:
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    storage, device = f"sqlite:///{folder}/studies.db", device or default_device()
    with SearchProgress(Console(stderr=True), images=0) as progress:
        found = lamsearch.agree(
            [f"beta{beta}" for beta in betas],
            rewards,
            images=images,
            batch_size=250,
            storage=storage,
            device=device,
            progress=progress,
        )
    write_files(found, folder / "agreement")
    with SearchProgress(Console(stderr=True), images=budget * SEARCH_IMAGES) as progress:
        search = lamsearch.run(
            "beta500",
            rewards[0],
            budget,
            images=SEARCH_IMAGES,
            storage=storage,
            device=device,
            progress=progress,
        )
    draw(search, {}, folder / "fig7-search.png")
    family = FamilyImages(device, images)
    for name, lams in STRIPS.items():
        write_strip(family, 500, lams, folder / f"{name}.png", rows=4)
    tables: list[Grid] = [reward_hacking.measured(folder, family, device)]
    alignment = cost.seconds_per_alignment(family, device)
    tables.append(cost.table(alignment, search.seconds, len(betas)))
    low, high = search.lam_interval
    text = CONTENTS.format(
        command=f"python -m examples.paper.reproduce {shlex.join(sys.argv[1:])}".strip(),
        environment=environment() + _accelerator(device),
        images=images,
        sentences="\n\n".join(f"{reward.sentence}." for reward in found.rewards),
        reward=rewards[0],
        lam=search.lam,
        low=low,
        high=high,
        beta=search.effective_beta,
        tables="\n".join(map(markdown, tables)),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    return text


def _accelerator(device: str) -> str:
    return f", {torch.cuda.get_device_name()}" if device.startswith("cuda") else ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--device")
    print(main(**vars(parser.parse_args())))
