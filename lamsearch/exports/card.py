"""The model card of an export: front matter for the hub, what it is, and how to use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from huggingface_hub import ModelCardData

from lamsearch.exports.programs import in_other_programs
from lamsearch.exports.result import Export
from lamsearch.report.rows import beta_text

_PAPER = "https://arxiv.org/abs/2601.20198"
_WHAT = {
    "realigned": "Both models and λ: images are sampled from the exact mixture p[β/λ], with two "
    "forward passes per step.",
    "merged": "One set of weights, (1 − λ)·θ_ref + λ·θ_aligned, with one forward pass per step. "
    "This is **not** the mixture p[β/λ], whose predictions are interpolated and not its weights.",
    "lora": "A LoRA for the reference model, with λ in its weights: load it at strength 1. Its "
    "result is one set of weights. This is **not** the mixture p[β/λ], whose predictions are "
    "interpolated and not its weights.",
}


def model_card(export: Export) -> str:
    """Return the text of the card's README.md."""
    return "\n".join(_lines(export)) + "\n"


def code(text: str) -> str:
    """Return any text as a code span of Markdown, on one line."""
    plain = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
    # A bar would end the cell of a table even inside a code span.
    quoted = plain.replace("`", "'").replace("|", "\\|")
    return f"`{quoted}`"


def _front_matter(export: Export) -> str:
    relation = "adapter" if export.form == "lora" else "merge"
    known: dict[str, Any] = {"base_model": export.reference, "base_model_relation": relation}
    data = ModelCardData(
        library_name="diffusers",
        license="unknown",
        tags=["deradiff", "lamsearch", "diffusion", *(["lora"] if export.form == "lora" else [])],
        **(known if export.on_hub else {}),
    )
    text: str = data.to_yaml()
    return text


def _lines(export: Export) -> Iterator[str]:
    yield f"---\n{_front_matter(export)}\n---\n"
    yield f"# {code(export.reference)} at λ = {export.lam:.4g}\n"
    yield f"{_WHAT[export.form]} It was found by a search with DeRaDiff ({_PAPER}).\n"
    yield from _figures(export)
    yield from _comparison(export)
    yield "\n## Load it\n"
    yield f"```python\n{loading_code(export)}\n```\n"
    yield "## ComfyUI and A1111\n"
    yield in_other_programs(export)
    yield "\n## Licence\n"
    yield (
        "Not known to the program that wrote this card. The licences of the reference and of the "
        "aligned model apply: state the licence here and in the front matter before you publish it."
    )


def _figures(export: Export) -> Iterator[str]:
    low, high = export.lam_interval
    yield "| | |\n|---|---|"
    answer = f", 95 % interval {low:.4g} to {high:.4g}" if export.is_answer else ""
    yield f"| {'λ*' if export.is_answer else 'λ'} | {export.lam:.6g}{answer} |"
    if export.beta is not None:
        yield f"| β of the aligned model | {export.beta:g} |"
        star = "*" if export.is_answer else ""
        yield f"| KL strength β/λ{star} | {beta_text(export.effective_beta)} |"
    yield f"| reward | {code(export.reward)} |"
    if export.is_answer:
        yield f"| its mean, estimated by the search | {export.value:.5f} |"
    yield f"| reference | {code(export.reference)} |"
    yield f"| anchor, study | {code(export.anchor)}, {code(export.study)} |"
    settings = ", ".join(f"{key} {value}" for key, value in export.call.items())
    yield f"| sampled with | {code(f'{export.scheduler}, {settings}')} |"
    if export.lora is not None:
        kind = "the anchor's own LoRA" if export.lora.is_own else "singular value decomposition"
        share = f"{100 * export.lora.share:.1f} % of the norm of the whole change"
        yield f"| LoRA | rank {export.lora.rank}, {kind}, {share} |"


def _comparison(export: Export) -> Iterator[str]:
    found = export.measurement
    if found is None:
        return
    yield "\n## Against the exact mixture\n"
    low, high = found.interval
    yield "| on the same prompts and seeds | |\n|---|---|"
    yield f"| images | {found.images} |"
    yield f"| mean {code(found.reward)} of the exact mixture | {found.exact:.5f} |"
    yield f"| of this export | {found.exported:.5f} |"
    interval = f"95 % interval {low:+.5f} to {high:+.5f}"
    yield f"| paired difference | {found.difference:+.5f}, {interval} |"
    yield f"| image distance (RMS of pixels in 0 to 1) | {found.image_distance:.4f} |"
    yield f"| the same, reference to exact mixture | {found.reference_distance:.4f} |"
    verdict = {
        "equal": f"Equal within ε = {found.epsilon:.3g}.",
        "different": f"Not equal: it differs by more than ε = {found.epsilon:.3g}.",
        "undecided": f"Not shown to be equal within ε = {found.epsilon:.3g}.",
    }
    yield f"\n**{verdict[found.verdict]}**"


def loading_code(export: Export) -> str:
    """Return Python that loads the export."""
    reference = repr(export.reference)
    if export.form == "realigned":
        return 'import deradiff\npipe = deradiff.load("FOLDER")  # then pipe("a prompt").images[0]'
    head = f"from diffusers import {export.pipeline}"
    if export.form == "lora":
        return (
            f"{head}\npipe = {export.pipeline}.from_pretrained({reference})\n"
            'pipe.load_lora_weights("FOLDER", weight_name="pytorch_lora_weights.safetensors")'
        )
    if export.part == "pipeline":
        return f'{head}\npipe = {export.pipeline}.from_pretrained("FOLDER")'
    name = export.denoiser
    return (
        f"from diffusers import AutoModel, {export.pipeline}\n"
        f'{name} = AutoModel.from_pretrained("FOLDER")\n'
        f"pipe = {export.pipeline}.from_pretrained({reference}, {name}={name})"
    )
