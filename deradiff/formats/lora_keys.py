"""The grammar of the keys of LoRA files: which layer and which factor a tensor is.

A key is a layer's name and a suffix. Trainers write the suffix in several ways; the names of the
layers are another matter (`layer_names`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from deradiff.formats.weights import some
from deradiff.options import AnchorError

_ADAPTER = r"(?:\.\w+)?"  # peft puts the adapter's name between: `lora_A.default.weight`
_LAYER = r"(?P<layer>.+?)"
_PATTERNS = {
    role: re.compile(_LAYER + suffix)
    for role, suffix in {
        "down": rf"(?:[._](?:lora|lora_linear_layer)\.down\.weight"
        rf"|\.down\.weight|[._]lora_(?:down|A){_ADAPTER}\.weight)",
        "up": rf"(?:[._](?:lora|lora_linear_layer)\.up\.weight"
        rf"|\.up\.weight|[._]lora_(?:up|B){_ADAPTER}\.weight)",
        "mid": r"[._]lora_mid\.weight",
        "alpha": r"[._](?:lora[._])?(?:network_)?alpha",
        "scalar": r"\.scalar",
        "magnitude": rf"[._](?:dora_scale|lora_magnitude_vector{_ADAPTER}(?:\.weight)?)",
        "diff": r"\.diff",
    }.items()
}
_FACTORS = re.compile(
    rf"{_LAYER}\.(?P<role>hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)){_ADAPTER}"
)
_REFUSED = {
    "OFT": re.compile(r".*\.(?:oft|boft)_.*"),
    "GLoRA": re.compile(r".*\.(?:a1|a2|b1|b2|bm)\.weight"),
    "(IA)³": re.compile(r".*(?:\.ia3_l.*|\.on_input)"),
    "VeRA": re.compile(r".*vera_lambda.*"),
    "differences of biases": re.compile(r".*(?:\.diff_b|\.b_norm|\.lora_(?:up|B)\.bias)"),
    "differences of norms": re.compile(r".*\.w_norm"),
    "LoRA of an embedding": re.compile(r".*lora_embedding_.*"),
}
_TEXTUAL_INVERSION = re.compile(r"emb_params|string_to_param.*|clip_[gl]|t5|<.*>|bundle_emb\..*")
_LYCORIS_NAMES = {"hada": "LoHa", "lokr": "LoKr"}

LayerParts = dict[str, Tensor]


def is_lora(keys: Mapping[str, Tensor]) -> bool:
    """Return whether the keys are those of a LoRA or one of its relatives, not of whole weights."""
    return any(
        role not in ("down", "up", "alpha") or "lora" in key
        for key in keys
        if (role := _parse(key)[1])
    ) or any(name != "GLoRA" and _REFUSED[name].fullmatch(key) for key in keys for name in _REFUSED)


def parse_keys(weights: Mapping[str, Tensor]) -> dict[str, LayerParts]:
    """Return the tensors of a LoRA file by layer and by role.

    Roles: "down" (rank, in), "up" (out, rank), "mid" (rank, rank, kernel), "alpha" (), "scalar" (),
    "magnitude" (out, 1), (1, in) or (out,), "diff" (shape of the weight), and LyCORIS' own
    `hada_…` and `lokr_…`.

    Raises:
        AnchorError: If a key is of a format that cannot be applied exactly, or of none known.
    """
    layers: dict[str, LayerParts] = {}
    unknown = []
    for key, tensor in weights.items():
        layer, role = _parse(key)
        if not role:
            unknown.append(key)
        elif role in layers.setdefault(layer, {}):
            raise AnchorError(f"two tensors are the {role} of the layer {layer}")
        else:
            # peft has one magnitude per output, as (1, out, 1, 1) for convolutions.
            is_peft = "lora_magnitude_vector" in key
            layers[layer][role] = tensor.flatten() if is_peft else tensor
    if unknown:
        _refuse(unknown)
    return layers


def refuse_textual_inversion(weights: Mapping[str, Tensor]) -> None:
    """Raise AnchorError if the tensors are embeddings of new words."""
    if weights and all(_TEXTUAL_INVERSION.fullmatch(key) for key in weights):
        raise AnchorError(
            f"is a textual inversion ({some(weights)}): it adds words to the text encoder and "
            "leaves the denoiser as it is, so there is nothing to realign"
        )


def format_name(layers: Mapping[str, LayerParts]) -> str:
    """Return what the format of a file's layers is called."""
    roles = {role for parts in layers.values() for role in parts}
    for start, name in _LYCORIS_NAMES.items():
        if any(role.startswith(start) for role in roles):
            return name
    if "mid" in roles:
        return "LoCon with Tucker decomposition"
    return "DoRA" if "magnitude" in roles else "differences" if "diff" in roles else "LoRA"


def _parse(key: str) -> tuple[str, str]:
    """Return the layer and the role of a key; an empty role if it has none known."""
    if match := _FACTORS.fullmatch(key):
        return match["layer"], match["role"]
    for role, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(key):
            return match["layer"], role
    return key, ""


def _refuse(unknown: list[str]) -> None:
    for name, pattern in _REFUSED.items():
        if matching := [key for key in unknown if pattern.fullmatch(key)]:
            raise AnchorError(
                f"holds {name} ({some(matching)}), which is not supported: merge it into a whole "
                "denoiser and give that folder"
            )
    raise AnchorError(
        f"tensors of an unknown kind beside a LoRA ({some(unknown)}): remove them, or merge the "
        "file into a whole denoiser and give that folder"
    )
