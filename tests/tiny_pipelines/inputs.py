"""Prompts and pictures for the calls, and the tiny text encoders that read the prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Gemma2Config, Gemma2Model, T5Config, T5EncoderModel

from tiny_clip import tiny_tokenizer
from tiny_pipelines.family import Prompts, embeddings, padded_mask
from tiny_pipelines.stock import TEXT_WIDTH

TEXTS = ("a red three", "a blue seven")
TOKENS = 6
SIZE = {"height": 16, "width": 16}


def text_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {
        "prompt": [TEXTS[prompt] for prompt in prompts],
        "num_images_per_prompt": per_prompt,
        "guidance_scale": 3.0,
    }


def picture(prompts: Prompts, channels: int = 3) -> Tensor:
    """Return the same 16 x 16 pixels for every prompt, between 0 and 1.

    Pipelines repeat pictures and prompts for the images of a prompt in different orders.
    """
    pixels = torch.rand(1, channels, 16, 16, generator=torch.Generator().manual_seed(3))
    return pixels.expand(len(prompts), -1, -1, -1)


def base_call(prompts: Prompts, per_prompt: int, guidance_scale: float = 3.0) -> dict[str, Any]:
    return {
        "prompt_embeds": embeddings(prompts, TOKENS, TEXT_WIDTH, salt=1),
        "num_images_per_prompt": per_prompt,
        "guidance_scale": guidance_scale,
        **SIZE,
    }


def negative(prompts: Prompts) -> dict[str, Any]:
    return {"negative_prompt_embeds": embeddings(prompts, TOKENS, TEXT_WIDTH, salt=2)}


def masks(prompts: Prompts) -> dict[str, Any]:
    mask = padded_mask(prompts, TOKENS)
    return {"prompt_attention_mask": mask, "negative_prompt_attention_mask": mask}


def guided_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**base_call(prompts, per_prompt), **negative(prompts)}


def masked_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**guided_call(prompts, per_prompt), **masks(prompts)}


def sized_text_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**text_call(prompts, per_prompt), **SIZE}


def t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tiny_tokenizer()),
            d_model=TEXT_WIDTH,
            d_kv=8,
            d_ff=16,
            num_layers=1,
            num_heads=2,
        )
    )


def gemma() -> Gemma2Model:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(tiny_tokenizer()),
            hidden_size=TEXT_WIDTH,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        )
    )


def encoders(*numbers: str) -> dict[str, None]:
    """Return absent text encoders and tokenizers, as prompts are given as embeddings."""
    return {f"{part}{n}": None for part in ("text_encoder", "tokenizer") for n in numbers}
