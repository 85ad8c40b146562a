"""Diffusion-DPO (arXiv 2311.12908): make anchors from preference pairs."""

from deradiff.dpo.data import PreferencePair
from deradiff.dpo.trainer import PRESETS, DPOSettings, DPOStep, diffusion_dpo_loss, train

__all__ = ["PRESETS", "DPOSettings", "DPOStep", "PreferencePair", "diffusion_dpo_loss", "train"]
