"""Rebuild the miniature world from a seed: `python -m examples.miniature.build --output DIR`.

Takes about an hour on two free CPU cores and needs no network. Every stage writes below the
output folder and is skipped where its result is already there, so a killed build resumes. The
world itself is `DIR/world`; `DIR/work` holds what was needed on the way.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from examples.miniature import card
from examples.miniature.anchors import train_anchor
from examples.miniature.curve import (
    BETA,
    collect,
    collect_family,
    curve_lams,
    draw,
    image_file,
    measure,
)
from examples.miniature.data import prompt_lists
from examples.miniature.parallel import run_jobs
from examples.miniature.pool import draw_pool_images, train_reward
from examples.miniature.preferences import draw_pair_images, pair_file
from examples.miniature.readers import train_digit_reader
from examples.miniature.recipe import Recipe, smoke
from examples.miniature.reference import train_reference
from examples.miniature.rewards import train_clip
from examples.miniature.vae import train_vae


class Build:
    """The stages, in order."""

    def __init__(self, recipe: Recipe, output: Path):
        self.recipe, self.work, self.world = recipe, output / "work", output / "world"
        for folder in (self.work, self.world / "rewards"):
            folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Run every stage whose result is missing."""
        for stage in (
            self.write_prompts,
            self.train_on_data,
            self.train_reference,
            self.draw_pairs,
            self.train_anchors,
            self.train_rewards,
            self.draw_curve,
            self.write_card,
        ):
            start = time.monotonic()
            stage()
            print(f"{stage.__name__}: {time.monotonic() - start:.0f} s", flush=True)

    def in_parallel(self, function: Callable[..., None], jobs: list[tuple[Path, tuple]]) -> None:
        """Run the jobs, given as (result, arguments), whose result is missing."""
        missing = [arguments for result, arguments in jobs if not result.exists()]
        run_jobs(function, missing, processes=self.recipe.processes)

    def write_prompts(self) -> None:
        """Write the prompts of the search and the held-out ones."""
        lists = prompt_lists(self.recipe.prompt_files, self.recipe.seed)
        for name, prompts in zip(("prompts.txt", "heldout.txt"), lists, strict=True):
            (self.world / name).write_text("\n".join(prompts) + "\n")

    def train_on_data(self) -> None:
        """Train what needs nothing but the data: autoencoder, digit reader and caption reward."""
        jobs = [
            (train_vae, self.work / "vae"),
            (train_clip, self.world / "rewards" / "clip"),
            (train_digit_reader, self.work / "reader.safetensors"),
        ]
        self.in_parallel(train_on, [(path, (job, self.recipe, path)) for job, path in jobs])

    def train_reference(self) -> None:
        """Train the reference pipeline."""
        if not (self.world / "reference").exists():
            train_reference(self.recipe, self.work / "vae", self.world / "reference")

    def draw_pairs(self) -> None:
        """Draw the images that people compare, on which the anchors are aligned."""
        jobs = [(seat, pair_file(self.work, seat)) for seat in (0, 1)]
        self.in_parallel(
            draw_pair_images,
            [(path, (self.recipe, seat, self.work, self.world)) for seat, path in jobs],
        )

    def train_anchors(self) -> None:
        """Train the anchors of all β."""
        folders = [(beta, self.world / "anchors" / f"beta{beta}") for beta in self.recipe.betas]
        jobs = [(path, (self.recipe, beta, self.work, self.world)) for beta, path in folders]
        self.in_parallel(train_anchor, jobs)

    def train_rewards(self) -> None:
        """Tune `pickscore` and `hps` on a pool of images from many sources."""
        parts = [(k, self.work / "pool" / f"part{k}.npy") for k in range(self.recipe.pool_parts)]
        jobs = [(path, (self.recipe, k, self.work, self.world)) for k, path in parts]
        self.in_parallel(draw_pool_images, jobs)
        rewards = [(name, self.world / "rewards" / name) for name in ("pickscore", "hps")]
        jobs = [(path, (self.recipe, name, self.work, self.world)) for name, path in rewards]
        self.in_parallel(train_reward, jobs)

    def draw_curve(self) -> None:
        """Measure the dense reference curve, and every anchor at λ = 1."""
        spots = [(BETA, lam) for lam in curve_lams(self.recipe)]
        spots += [(beta, 1.0) for beta in self.recipe.betas if beta != BETA]
        files = [image_file(self.work, *spot) for spot in spots]
        jobs = zip(files, spots, strict=True)
        self.in_parallel(
            draw, [(file, (self.recipe, *spot, self.world, file)) for file, spot in jobs]
        )
        self.in_parallel(
            measure,
            [(file.with_suffix(".npz"), (file, self.work, self.world)) for file in files],
        )
        collect(self.recipe, self.work, self.world)
        collect_family(self.recipe, self.work, self.world)

    def write_card(self) -> None:
        """Write the settings file and the model card."""
        forget_paths(self.world)
        (self.world / "lamsearch.toml").write_text(card.settings_file(self.recipe))
        text = card.model_card(self.recipe, self.work, self.world)
        (self.world / "README.md").write_text(text)


def forget_paths(world: Path) -> None:
    """Drop from the configurations where diffusers loaded a model from while building."""
    for file in world.rglob("config.json"):
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2) + "\n")


def train_on(job: Callable[..., None], recipe: Recipe, path: Path) -> None:
    """Train into `path`, which appears only when it is complete."""
    unfinished = path.with_name("unfinished-" + path.name)
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    job(recipe, unfinished)
    unfinished.replace(path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="do next to nothing, in a minute")
    options = parser.parse_args(arguments)
    recipe = smoke(Recipe()) if options.smoke else Recipe()
    Build(dataclasses.replace(recipe, seed=options.seed), options.output).run()


if __name__ == "__main__":
    main()
