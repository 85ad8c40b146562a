"""Tiny real CLIP models with tokenizer and image processor, for the tests of the rewards."""

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

Module = TypeVar("Module", bound=nn.Module)

TEXT_LENGTH = 16
IMAGE_SIZE = 28
WIDTH, HEADS, TEXT_LAYERS, IMAGE_LAYERS, PATCH, PROJECTION = 24, 4, 2, 3, 7, 20


def tiny_tokenizer() -> CLIPTokenizer:
    """Every byte is a token, a few words have merges, and the special tokens come last."""
    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [f"{letter}</w>" for letter in letters]
    merges = [("r", "e"), ("re", "d</w>"), ("b", "l"), ("u", "e</w>"), ("bl", "ue</w>")]
    tokens += ["".join(merge) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TEXT_LENGTH)


def tiny_image_processor() -> CLIPImageProcessorPil:
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=size)


def tiny_config(**text: int) -> CLIPConfig:
    tokenizer = tiny_tokenizer()
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": HEADS,
        "hidden_act": "gelu",
        "projection_dim": PROJECTION,
    }
    text_config = {
        **shared,
        "num_hidden_layers": TEXT_LAYERS,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TEXT_LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **text,
    }
    vision_config = {
        **shared,
        "num_hidden_layers": IMAGE_LAYERS,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH,
    }
    return CLIPConfig(
        projection_dim=PROJECTION, text_config=text_config, vision_config=vision_config
    )


def tiny_model(seed: int = 0, **text: int) -> CLIPModel:
    """A model with weights drawn wide, so that scores differ well between images and prompts."""
    return draw_weights(CLIPModel(tiny_config(**text)).eval(), seed)


def draw_weights(model: Module, seed: int) -> Module:
    """Draws every parameter at random, so that none can be swapped for another unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                std = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5
                parameter.normal_(std=std, generator=generator)
    return model


def save_processor(folder: Path) -> Path:
    CLIPProcessor(tiny_image_processor(), tiny_tokenizer()).save_pretrained(folder)
    return folder


def save_clip(folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Saves a model and its processor as one transformers folder."""
    tiny_model(seed).to(dtype).save_pretrained(folder)
    return save_processor(folder)


def pictures(count: int, size: tuple[int, int] = (40, 40), seed: int = 0) -> list[Image.Image]:
    """Smooth random colour images."""
    draws = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(draw).resize(size, Image.Resampling.BICUBIC) for draw in draws]


class OpenClipBlock(nn.Module):
    """open_clip's ResidualAttentionBlock, with its parameter names."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class OpenClipTower(nn.Module):
    def __init__(self, width: int, layers: int):
        super().__init__()
        self.resblocks = nn.ModuleList(OpenClipBlock(width) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class OpenClipVision(nn.Module):
    """open_clip's VisionTransformer with class-token pooling."""

    def __init__(self) -> None:
        super().__init__()
        patches = (IMAGE_SIZE // PATCH) ** 2
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(patches + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = OpenClipTower(WIDTH, IMAGE_LAYERS)
        self.proj = nn.Parameter(torch.randn(WIDTH, PROJECTION))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        x = self.transformer(self.ln_pre(x + self.positional_embedding))
        return self.ln_post(x[:, 0]) @ self.proj


class OpenClip(nn.Module):
    """open_clip's CLIP written out with torch's own attention: the oracle of the conversion."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = OpenClipVision()
        self.token_embedding = nn.Embedding(len(tiny_tokenizer()), WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(TEXT_LENGTH, WIDTH))
        self.transformer = OpenClipTower(WIDTH, TEXT_LAYERS)
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, PROJECTION))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def encode_text(self, ids: Tensor) -> Tensor:
        mask = torch.full((TEXT_LENGTH, TEXT_LENGTH), -torch.inf).triu(1)
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding, mask)
        x = self.ln_final(x)
        return x[torch.arange(len(x)), ids.argmax(dim=-1)] @ self.text_projection


def tiny_open_clip(seed: int = 0) -> OpenClip:
    return draw_weights(OpenClip().eval(), seed)
