"""Diffusion-DPO (arXiv 2311.12908): train anchors from preference pairs."""

from deradiff.dpo.folder import PreferenceFolder
from deradiff.dpo.loss import diffusion_dpo_loss
from deradiff.dpo.pairs import PreferencePair
from deradiff.dpo.parquet import PreferenceParquet
from deradiff.dpo.presets import PRESETS, DPOSettings
from deradiff.dpo.trainer import DPOStep, train

__all__ = [
    "PRESETS",
    "DPOSettings",
    "DPOStep",
    "PreferenceFolder",
    "PreferencePair",
    "PreferenceParquet",
    "diffusion_dpo_loss",
    "train",
]
