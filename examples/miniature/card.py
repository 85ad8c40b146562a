"""The settings file and the model card, with the figures of this very build."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np

from examples.miniature.curve import BETA, FIRST_SEED, image_file, mean_and_stderr, plan_prompts
from examples.miniature.pool import CROWDS
from examples.miniature.readers import load_readers
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import Settings, load_pipeline, load_unet, sample_images

ANCHOR = """
[anchors.beta{beta}]
reference = "reference"
aligned = "anchors/beta{beta}"
beta = {beta}

[anchors.beta{beta}.sampling]
scheduler = "EulerAncestralDiscreteScheduler"
steps = {steps}
guidance_scale = {guidance}
dtype = "float32"
"""
REST = """
[rewards.pickscore]
model = "rewards/pickscore"

[rewards.clip]
model = "rewards/clip"
processor = "rewards/clip"

[rewards.hps]
model = "rewards/hps"
processor = "rewards/hps"

[prompts]
file = "prompts.txt"
heldout = "heldout.txt"
"""
CARD = Path(__file__).with_name("card.md")


def settings_file(recipe: Recipe) -> str:
    """Return the text of `lamsearch.toml`."""
    head = 'description = "the bundled miniature world: coloured handwritten digits, 32 by 32"\n'
    given = {"steps": recipe.steps, "guidance": recipe.guidance}
    return head + "".join(ANCHOR.format(beta=beta, **given) for beta in recipe.betas) + REST


def family_table(recipe: Recipe, work: Path) -> str:
    """Return a Markdown table of reference and anchors: their means over the plan's images."""
    files = {"∞ (reference)": image_file(work, BETA, 0.0)}
    files |= {str(beta): image_file(work, beta, 1.0) for beta in sorted(recipe.betas, reverse=True)}
    lines = [
        "| β | pickscore | hps | clip | vividness | right digit | right colour |",
        "|---|---|---|---|---|---|---|",
    ]
    for beta, path in files.items():
        data = np.load(path.with_suffix(".npz"))
        cells = [f"{data[name].mean():.4f}" for name in ("pickscore", "hps", "clip", "vividness")]
        cells += [f"{data[name].mean():.1%}" for name in ("right_digit", "right_colour")]
        lines.append(f"| {beta} | {' | '.join(cells)} |")
    return "\n".join(lines)


def margins(world: Path) -> dict[str, str]:
    """Return the λ of the curve's maximum, and by how many standard errors it beats both ends."""
    scores = np.load(world / "reference_scores.npz")
    lams, values = scores["lam"], scores["pickscore"].astype(np.float64)
    best = int(values.mean(1).argmax())
    figures = {"lam": f"{lams[best]:g}", "beta": f"{BETA / max(lams[best], 1e-9):.0f}"}
    figures["range"] = f"{np.ptp(values.mean(1)):.4f}"
    for name, end in (("first", 0), ("last", -1)):
        difference, paired = mean_and_stderr(values[best] - values[end])
        unpaired = np.hypot(*(mean_and_stderr(values[k])[1] for k in (best, end)))
        figures[name] = f"{difference:.4f}"
        figures[f"{name}_paired"] = f"{difference / max(paired, 1e-12):.1f}"
        figures[f"{name}_unpaired"] = f"{difference / max(unpaired, 1e-12):.1f}"
    return figures


def seconds_per_image(recipe: Recipe, world: Path) -> float:
    """Measure the wall time per image of the realigned `beta500`, in a batch of 64, once warm."""
    pipe = load_pipeline(world / "reference")
    aligned = load_unet(world / "anchors" / f"beta{BETA}" / "unet")
    prompts = plan_prompts(world, 64)
    settings = Settings(0.5, recipe.guidance, recipe.steps)
    sample_images(pipe, prompts, FIRST_SEED, settings._replace(steps=2), aligned)
    start = time.perf_counter()
    sample_images(pipe, prompts, FIRST_SEED, settings, aligned)
    return (time.perf_counter() - start) / 64


def sizes(world: Path) -> str:
    """Return a list of the folders and their sizes."""
    folders = ["reference", *sorted(f"anchors/{p.name}" for p in (world / "anchors").iterdir())]
    folders += ["rewards/pickscore", "rewards/clip", "rewards/hps", "."]
    total = {
        name: sum(file.stat().st_size for file in (world / name).rglob("*") if file.is_file())
        for name in folders
    }
    names = {".": "all together"}
    return "\n".join(f"- {names.get(k, f'`{k}/`')}: {v / 1e6:.1f} MB" for k, v in total.items())


def model_card(recipe: Recipe, work: Path, world: Path) -> str:
    """Return the text of the model card."""
    with (world / "reference_curve.csv").open() as file:
        reference = next(csv.DictReader(file))
    return CARD.read_text().format(
        **{f"peak_{name}": figure for name, figure in margins(world).items()},
        reader=f"{load_readers(work).held_out_accuracy():.1%}",
        right_digit=f"{float(reference['right_digit']):.1%}",
        right_colour=f"{float(reference['right_colour']):.1%}",
        rate_times_beta=f"{recipe.anchor_rate * recipe.anchor_rate_beta:g}",
        family=family_table(recipe, work),
        members=len(recipe.betas) + 1,
        milliseconds=f"{1000 * seconds_per_image(recipe, world):.0f}",
        sizes=sizes(world),
        recipe=recipe,
        crowds=CROWDS,
    )
