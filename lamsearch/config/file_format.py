"""The format of `lamsearch.toml`: every key with its type, default, bounds and meaning.

The reference page of the settings file is generated from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lamsearch.config.locations import ExistingFile, Location, Locations
from lamsearch.config.names import name_problem
from lamsearch.config.reward_tables import RewardTables
from lamsearch.config.strict_table import StrictTable, complaint


class SamplingSettings(StrictTable):
    """`[anchors.NAME.sampling]`: how images are sampled."""

    scheduler: str | None = Field(
        default=None,
        min_length=1,
        description="Class name of a diffusers scheduler, such as "
        "`EulerAncestralDiscreteScheduler`; by default the reference pipeline's own scheduler.",
    )
    steps: int = Field(default=50, ge=1, description="Number of denoising steps per image.")
    aligned_steps: int | None = Field(
        default=None,
        ge=1,
        description="Number of the first steps in which the aligned model has the weight λ; the "
        "reference alone takes the others, which holds hacked details back. At most `steps`, which "
        "is the default.",
    )
    guidance_scale: float | None = Field(
        default=None,
        ge=0,
        description="Scale of the classifier-free guidance; by default what the pipeline uses when "
        "it is called without one.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="Floating-point type of all weights of the pipeline."
    )
    vae: Location | None = Field(
        default=None,
        description="Path or hub id of a VAE to use instead of the reference pipeline's own.",
    )
    negative_prompt: str | None = Field(
        default=None,
        description="Negative prompt of every image; by default none is passed to the pipeline.",
    )
    height: int | None = Field(
        default=None,
        ge=1,
        description="Height of the images in pixels; by default the pipeline's native height.",
    )
    width: int | None = Field(
        default=None,
        ge=1,
        description="Width of the images in pixels; by default the pipeline's native width.",
    )
    frames: int | None = Field(
        default=None,
        ge=1,
        description="Number of frames of a video, whose score is the mean of its frames' scores; "
        "by default what the pipeline generates when it is called without a number.",
    )
    scheduler_config: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Settings of the scheduler that override its stored configuration, such as "
        '`timestep_spacing = "trailing"`; by default nothing is overridden.',
    )

    @model_validator(mode="after")
    def _require_both_sides(self) -> Self:
        if (self.height is None) != (self.width is None):
            given, other = ("height", "width") if self.width is None else ("width", "height")
            raise complaint(f"{given} given without {other}, expected both or neither")
        return self

    @model_validator(mode="after")
    def _require_enough_steps(self) -> Self:
        if self.aligned_steps is not None and self.aligned_steps > self.steps:
            raise complaint(
                f"aligned_steps = {self.aligned_steps} given, expected at most steps = {self.steps}"
            )
        return self


class AnchorTable(StrictTable):
    """`[anchors.NAME]`: a reference model, the model aligned from it, and the KL strength."""

    reference: Location = Field(
        description="Path or hub id of the reference model: a whole diffusers pipeline, or a "
        "checkpoint in one `.safetensors` file."
    )
    aligned: Locations = Field(
        description="Path or hub id of the aligned model: a denoiser's folder, a whole pipeline, a "
        "trainer's output, a LoRA, or one `.safetensors` file; for a pipeline with several "
        'denoisers a table with one of these each, such as `{ transformer = "high", '
        'transformer_2 = "low" }`.'
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        description="KL strength β at which `aligned` was aligned; left out for a model that was "
        "trained without one, whose answer is λ alone.",
    )
    strength: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="What to multiply the change of an aligned LoRA by, at 1 by default.",
    )
    file: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the file in the folder `aligned`, where it holds several.",
    )
    config: Location | None = Field(
        default=None,
        description="Path or hub id of a pipeline with the configuration of a `reference` that is "
        "a single file.",
    )
    sampling: SamplingSettings = Field(
        default_factory=SamplingSettings, description="How this anchor's images are sampled."
    )
    variant: str | None = Field(
        default=None,
        description="Variant of the weight files, such as `fp16`; by default the files without a "
        "variant are loaded.",
    )
    use_safetensors: bool = Field(
        default=True,
        description="Whether only safetensors files are loaded; `false` also allows pickled "
        "weights, which can run any code.",
    )


class PromptSettings(StrictTable):
    """`[prompts]`: the files of prompts, `.txt`, `.json`, `.jsonl`, `.csv` or `.tsv`."""

    file: ExistingFile = Field(
        description="File with the prompts of the search, used unless `--prompts` names another."
    )
    heldout: ExistingFile | None = Field(
        default=None,
        description="File with the held-out prompts of `--confirm`; by default the prompts of "
        "`file` that the search does not use.",
    )


def _require_names(tables: Any) -> Any:
    """Refuse a table whose name could not be part of a file's name."""
    for name in tables if isinstance(tables, Mapping) else ():
        if problem := name_problem(str(name)):
            raise complaint(f"the name {problem}")
    return tables


class SettingsFile(StrictTable):
    """The top level of the file."""

    description: str | None = Field(
        default=None, description="A line about the file, printed when a search starts."
    )
    anchors: Annotated[dict[str, AnchorTable], BeforeValidator(_require_names)] = Field(
        default_factory=dict,
        description="The anchors: `--anchor NAME` chooses the table `[anchors.NAME]`.",
    )
    rewards: Annotated[RewardTables, BeforeValidator(_require_names)] = Field(
        default_factory=dict,
        description="The rewards: `--reward NAME` chooses the table `[rewards.NAME]`.",
    )
    prompts: PromptSettings | None = Field(
        default=None,
        description="The default prompts; without this table, `--prompts` must name a file.",
    )
