"""The rewards: small `CLIPModel`s. `clip` learns from captions; the others are tuned from it.

`pickscore` and `hps` are tuned with the Bradley–Terry loss of PickScore (arXiv 2305.01569): the
logit scale times the difference of two cosines is the log-odds that people prefer the first image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from examples.miniature.data import IMAGE_SIZE, captions, draw_pictures, load_scans
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import as_tensor
from examples.miniature.tokens import CONTEXT, new_tokenizer, tokenize
from examples.miniature.training import MovingAverage, report, schedule, take_step

TOWER = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "projection_dim": 64,
}


def new_clip() -> CLIPModel:
    """Return an untrained model of a 3-layer vision and a 2-layer text transformer."""
    tokenizer = new_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "num_hidden_layers": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"image_size": IMAGE_SIZE, "patch_size": 4, "num_hidden_layers": 3}
    return CLIPModel(
        CLIPConfig(text_config=TOWER | text, vision_config=TOWER | vision, projection_dim=64)
    )


def new_processor() -> CLIPProcessor:
    """Return tokenizer and image processor, which maps 32 by 32 pixels to [-1, 1]."""
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size=size,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return CLIPProcessor(images, new_tokenizer())


def image_embeddings(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Return unit vectors (n, 64) of pictures in [-1, 1]."""
    return functional.normalize(model.get_image_features(pixels).pooler_output, dim=-1)


def text_embeddings(model: CLIPModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return unit vectors (n, 64) of token ids."""
    return functional.normalize(model.get_text_features(tokens).pooler_output, dim=-1)


def save_reward(model: CLIPModel, folder: Path) -> None:
    """Write model and processor, float16."""
    model.half().save_pretrained(folder)
    new_processor().save_pretrained(folder)


def contrastive_loss(model: CLIPModel, pictures, tokens: torch.Tensor) -> torch.Tensor:
    """Return CLIP's symmetric loss; all captions with a picture's digit and colour are right."""
    cells = pictures.digits * 100 + pictures.colours
    same = (cells[:, None] == cells[None]).float()
    target = same / same.sum(1, keepdim=True)
    images = image_embeddings(model, pictures.images)
    logits = model.logit_scale.exp() * images @ text_embeddings(model, tokens).T
    losses = [functional.cross_entropy(side, target) for side in (logits, logits.T)]
    return sum(losses) / 2


def train_clip(recipe: Recipe, folder: Path) -> None:
    """Train the caption model on pictures drawn afresh at every step."""
    torch.manual_seed(recipe.seed + 7)
    generator = torch.Generator().manual_seed(recipe.seed + 7)
    scans, _ = load_scans()
    model, tokenizer = new_clip(), new_tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    decay = schedule(optimizer, recipe.clip_steps)
    average = MovingAverage(model, 0.995)
    for step in range(recipe.clip_steps):
        wide = {"boldness": (-0.2, 1.2), "saturation": (0.3, 1.25)}
        pictures = draw_pictures(scans, 96, generator, **wide)
        tokens = tokenize(tokenizer, captions(pictures, generator))
        loss = contrastive_loss(model, pictures, tokens)
        take_step(loss, model, optimizer, decay)
        average.update()
        with torch.no_grad():
            model.logit_scale.clamp_(max=3.4)
        report("clip", step, recipe.clip_steps, loss.item())
    average.copy_to_module()
    save_reward(model, folder)


def train_preference_model(recipe: Recipe, clip: Path, pairs: dict, folder: Path) -> None:
    """Tune the caption model on labelled pairs.

    Args:
        recipe: Number of steps.
        clip: Folder of the caption model.
        pairs: `images` uint8 (n, 32, 32, 3), `tokens` (n, 16), and for m comparisons the rows
            `preferred` and `rejected` (m,), each of the same prompt, and the crowd's `seed`.
        folder: Where the reward goes.
    """
    generator = torch.Generator().manual_seed(pairs["seed"])
    torch.manual_seed(pairs["seed"])
    model = CLIPModel.from_pretrained(clip, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.02)
    decay = schedule(optimizer, recipe.preference_steps)
    average = MovingAverage(model, 0.99)
    for step in range(recipe.preference_steps):
        batch = torch.randint(len(pairs["preferred"]), (64,), generator=generator)
        loss = bradley_terry_loss(model, pairs, pairs["preferred"][batch], pairs["rejected"][batch])
        take_step(loss, model, optimizer, decay)
        average.update()
        report(folder.name, step, recipe.preference_steps, loss.item())
    average.copy_to_module()
    save_reward(model, folder)


def bradley_terry_loss(model: CLIPModel, pairs: dict, preferred, rejected) -> torch.Tensor:
    """Return the mean of −log σ(logit scale · (cos(preferred, prompt) − cos(rejected, prompt)))."""
    text = text_embeddings(model, pairs["tokens"][preferred])
    rows = torch.cat([preferred, rejected]).numpy()
    images = image_embeddings(model, as_tensor(pairs["images"][rows])).unflatten(0, (2, -1))
    good, bad = (images * text).sum(-1)
    return -functional.logsigmoid(model.logit_scale.exp() * (good - bad)).mean()


@torch.no_grad()
def score(folder: Path, images: np.ndarray, prompts: list[str]) -> np.ndarray:
    """Return the cosines (n,) float32 of images with their own prompts."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = tokenize(new_tokenizer(), prompts)
    rows = np.arange(len(images))
    parts = [
        (image_embeddings(model, as_tensor(images[part])) * text_embeddings(model, tokens[part]))
        .sum(-1)
        .numpy()
        for part in np.array_split(rows, max(1, len(rows) // 250))
    ]
    return np.concatenate(parts)
