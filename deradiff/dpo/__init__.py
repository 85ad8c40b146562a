"""Diffusion-DPO (arXiv 2311.12908): train anchors from preference pairs."""

from deradiff.dpo.data import PreferencePair
from deradiff.dpo.loss import diffusion_dpo_loss
from deradiff.dpo.presets import PRESETS, DPOSettings
from deradiff.dpo.trainer import DPOStep, train

__all__ = ["PRESETS", "DPOSettings", "DPOStep", "PreferencePair", "diffusion_dpo_loss", "train"]
