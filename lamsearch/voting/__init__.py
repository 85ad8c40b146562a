"""People as the reward: a local page with blind pairs of a study's images."""
