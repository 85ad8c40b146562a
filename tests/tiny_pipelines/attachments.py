"""What people attach to a UNet: LoRA adapters, FreeU, IP-Adapter."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tiny_pipelines.family import Prompts, embeddings
from tiny_pipelines.inputs import text_call
from tiny_pipelines.stock import TEXT_WIDTH, seeded_weights


def attach_style_lora(pipe: DiffusionPipeline) -> None:
    add_lora(pipe.unet, "style", seed=21)


def add_lora(denoiser: Any, name: str, seed: int) -> None:
    from peft import LoraConfig

    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    with seeded_weights(seed):
        denoiser.add_adapter(config, adapter_name=name)


def attach_freeu(pipe: DiffusionPipeline) -> None:
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)


IMAGE_EMBEDDING, IMAGE_TOKENS = 10, 4


def attach_ip_adapter(pipe: DiffusionPipeline) -> None:
    generator = torch.Generator().manual_seed(31)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    projections: dict[str, Tensor] = {}
    processors = pipe.unet.attn_processors
    for i, name in enumerate(processors):
        if "attn2" in name:
            block = pipe.unet.get_submodule(name.removesuffix(".processor"))
            for key in ("to_k_ip", "to_v_ip"):
                projections[f"{i}.{key}.weight"] = draw(block.inner_dim, TEXT_WIDTH)
    projection = {
        "proj.weight": draw(IMAGE_TOKENS * TEXT_WIDTH, IMAGE_EMBEDDING),
        "proj.bias": draw(IMAGE_TOKENS * TEXT_WIDTH),
        "norm.weight": torch.ones(TEXT_WIDTH),
        "norm.bias": torch.zeros(TEXT_WIDTH),
    }
    state = {"image_proj": projection, "ip_adapter": projections}
    pipe.load_ip_adapter(
        [state], subfolder="", weight_name="", image_encoder_folder=None, low_cpu_mem_usage=False
    )


def ip_adapter_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    # The first row belongs to the unconditional branch of the guidance.
    picture_embedding = embeddings((0, 1), 1, IMAGE_EMBEDDING, salt=5)
    return {**text_call(prompts, per_prompt), "ip_adapter_image_embeds": [picture_embedding]}
