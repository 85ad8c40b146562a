"""Align a pipeline with preference pairs by Diffusion-DPO, and sample between it and its reference.

    python examples/make_anchor.py

makes a small anchor of the bundled reference from a handful of pairs: the more colourful of two
images is preferred. For a real one, give your own pairs and `DPOSettings.preset("sdxl", beta=500)`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

from deradiff import DPOSettings, PreferencePair, load_anchor
from deradiff.dpo import DPOStep, train

REFERENCE = Path(str(files("lamsearch") / "miniature" / "reference"))


def colourful_pairs(pipe: DiffusionPipeline, count: int) -> list[PreferencePair]:
    """Draw two images per prompt and prefer the one with the more saturated colours."""
    pairs = []
    for seed in range(count):
        prompt = f"a {('red', 'blue', 'green')[seed % 3]} seven"
        generators = [torch.Generator().manual_seed(2 * seed + i) for i in (0, 1)]
        images = pipe([prompt] * 2, generator=generators, num_inference_steps=20).images
        saturation = [float(np.asarray(i.convert("HSV"))[..., 1].mean()) for i in images]
        better = int(np.argmax(saturation))
        pairs.append(PreferencePair(prompt, images[better], images[1 - better]))
    return pairs


def show(step: DPOStep) -> None:
    print(f"step {step.step}: loss {step.loss:.4f}, accuracy {step.accuracy:.2f}")


def main(output: str = "anchor", pairs: int = 32, steps: int = 20) -> Path:
    pipe = DiffusionPipeline.from_pretrained(REFERENCE, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    settings = DPOSettings(
        beta=500, learning_rate=5e-5, batch_size=16, accumulation=1, steps=steps, warmup=5
    )
    train(pipe, colourful_pairs(pipe, pairs), settings, output=output, progress=show)

    anchor = load_anchor(REFERENCE, output, beta=settings.beta)
    for lam in (0.0, 0.5, 1.0):
        with anchor.realign(lam):
            generator = torch.Generator().manual_seed(0)
            image = anchor.pipe("a red seven", generator=generator, num_inference_steps=20).images[
                0
            ]
        image.save(Path(output) / f"lam-{lam}.png")
    return Path(output)


if __name__ == "__main__":
    main()
