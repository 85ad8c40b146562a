"""How ComfyUI and A1111 use an export: which file goes where, and what is exact there."""

from __future__ import annotations

from lamsearch.exports.result import Export

NOT_THE_SAME_IMAGES = (
    "Both programs draw noise and take steps in ways of their own, so a seed gives other images "
    "than diffusers; the weights are these."
)


def in_other_programs(export: Export) -> str:
    """Return the section of the card."""
    return {"realigned": _realigned, "merged": _merged, "lora": _lora}[export.form](export)


def _realigned(export: Export) -> str:
    return (
        "Neither program mixes two models' predictions, so this folder is for diffusers alone. For "
        "them export `--as merged` or `--as lora`, which are approximations."
    )


def _merged(export: Export) -> str:
    inner = f"{export.denoiser}/" if export.part == "pipeline" else ""
    file = f"`{inner}diffusion_pytorch_model.safetensors`"
    folder = "this folder" if inner else "the folder of a whole pipeline, `--part pipeline`,"
    if export.denoiser != "unet":
        return (
            f"- ComfyUI: it reads a denoiser of this kind under its original names only; {file} "
            "has those of diffusers. Convert it first, or use diffusers.\n"
            "- A1111: it has no denoiser of this kind.\n"
        )
    return (
        f"- ComfyUI: copy {file} to `ComfyUI/models/diffusion_models/NAME.safetensors`, choose it "
        "in *Load Diffusion Model*, and take CLIP and VAE from the reference's checkpoint.\n"
        f"- A1111: it needs one checkpoint in the original format. Convert {folder} "
        "with `convert_diffusers_to_original_stable_diffusion.py` (SDXL: "
        "`convert_diffusers_to_original_sdxl.py`) from the scripts of diffusers, and put the file "
        "into `stable-diffusion-webui/models/Stable-diffusion/`.\n"
        f"\n{NOT_THE_SAME_IMAGES}"
    )


def _lora(export: Export) -> str:
    if export.denoiser != "unet":
        return (
            "- ComfyUI: copy `pytorch_lora_weights.safetensors` to `ComfyUI/models/loras/`, load "
            "it with *Load LoRA (Model)* at strength 1, and see that its log names no key as not "
            "loaded.\n"
            "- A1111: it has no denoiser of this kind.\n"
        )
    return (
        "Use `kohya.safetensors`, which has the keys that both programs read, at strength 1: λ is "
        "in it already.\n\n"
        "- ComfyUI: copy it to `ComfyUI/models/loras/NAME.safetensors` and load it with *Load LoRA "
        "(Model)* on the reference.\n"
        "- A1111: copy it to `stable-diffusion-webui/models/Lora/NAME.safetensors`, choose the "
        "reference as the checkpoint, and write `<lora:NAME:1>` into the prompt.\n"
        f"\n{NOT_THE_SAME_IMAGES} Another strength s is λ·s of these weights."
    )
