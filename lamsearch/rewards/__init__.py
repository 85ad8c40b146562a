"""Rewards: score images against their prompts. One protocol, one file per family of models."""

from lamsearch.rewards.base import CheckedReward, Reward, as_reward
from lamsearch.rewards.panel import Panel, PanelScores, load_panel
from lamsearch.rewards.registry import load_reward

__all__ = [
    "CheckedReward",
    "Panel",
    "PanelScores",
    "Reward",
    "as_reward",
    "load_panel",
    "load_reward",
]
