"""What an export is, as plain data: printed, in the JSON, and in the model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamsearch.exports.measurement import Measurement
from lamsearch.report.json_form import to_json


@dataclass(frozen=True)
class LoraFacts:
    """The LoRA of an export.

    Attributes:
        rank: Rank of its layers.
        share: Norm of what it changes, as a share of the norm of the whole change.
        is_own: Whether it is the anchor's own LoRA, scaled.
    """

    rank: int
    share: float
    is_own: bool


@dataclass(frozen=True)
class Export:
    """A folder that was exported.

    Attributes:
        study: Name of the study.
        folder: The folder.
        form: "realigned", "merged" or "lora".
        anchor: Name of the anchor.
        reference: Hub id of the reference, or the name of its folder or file.
        on_hub: Whether `reference` is a hub id.
        pipeline: Class of the pipeline.
        denoiser: Name of the denoiser in it.
        part: "pipeline" or "denoiser": what merged weights were written as.
        lam: λ.
        is_answer: Whether that is the study's λ*.
        lam_interval: 95 % interval of λ*, under the model.
        beta: The anchor's β, None where there is none.
        effective_beta: β/λ, None where there is no β; infinite at λ = 0.
        reward: What the study optimised.
        value: Its estimated mean at λ*.
        call: Keyword arguments of the pipeline's call.
        scheduler: Class of the scheduler.
        lora: The LoRA, None for another form.
        measurement: Against the exact mixture, None where the export is the exact mixture.
    """

    study: str
    folder: str
    form: str
    anchor: str
    reference: str
    on_hub: bool
    pipeline: str
    denoiser: str
    part: str
    lam: float
    is_answer: bool
    lam_interval: tuple[float, float]
    beta: float | None
    effective_beta: float | None
    reward: str
    value: float
    call: dict[str, Any]
    scheduler: str
    lora: LoraFacts | None
    measurement: Measurement | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, `form` as `as` and the verdict with the measurement."""
        fields = to_json(self)
        found = {"study": fields.pop("study"), "folder": fields.pop("folder")}
        found["as"] = fields.pop("form")
        if self.measurement is not None:
            fields["measurement"]["verdict"] = self.measurement.verdict
        return {**found, **fields}
