"""The table of pipelines: every family that the tests run, in the order of the documentation."""

from __future__ import annotations

from tiny_pipelines import (
    diffusion_transformers,
    image_transformers,
    language_models,
    unets,
    videos,
)
from tiny_pipelines.family import Family

FAMILIES: tuple[Family, ...] = (
    *unets.FAMILIES,
    *diffusion_transformers.FAMILIES,
    *image_transformers.FAMILIES,
    *language_models.FAMILIES,
    *videos.FAMILIES,
)
