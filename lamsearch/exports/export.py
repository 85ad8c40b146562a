"""A study → a folder at λ*: open, check, measure, write, describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

import deradiff
from deradiff.denoisers import denoiser_names
from deradiff.exports.low_rank import LowRank, low_rank
from deradiff.exports.merged import aligned_components, merged_components
from deradiff.exports.pipeline_folder import WHOLE, remove_paths, save_pipeline, size_of
from deradiff.exports.plain_weights import plain_denoiser
from lamsearch.config.settings import AnchorSettings, Settings
from lamsearch.errors import SettingsError, StudyError
from lamsearch.evaluation.loading import Models, load_anchor, usable_device
from lamsearch.exports.answered_study import AnsweredStudy
from lamsearch.exports.card import model_card
from lamsearch.exports.config import ExportConfig
from lamsearch.exports.folder import require_free, require_space, whole_folder
from lamsearch.exports.measurement import Measurement, measure
from lamsearch.exports.result import Export, LoraFacts
from lamsearch.report.exported import ExportDifference, remember_export
from lamsearch.report.rows import effective_beta
from lamsearch.rewards import load_panel
from lamsearch.rewards.permission import require_permission
from lamsearch.study.database import Study

Say = Callable[[str], None]


def export(
    study: str,
    folder: Path,
    *,
    storage: str | None,
    settings: Settings,
    config: ExportConfig,
    say: Say = lambda text: None,
) -> Export:
    """Write a study's anchor at λ* as a folder, which appears whole or not at all.

    Args:
        study: Name of the study.
        folder: The folder; it must not exist, or be empty.
        storage: URL of the study's database.
        settings: The settings file that the study was run with.
        config: What to write, and how to measure it.
        say: Told what is going on.

    Returns:
        What was written.

    Raises:
        SettingsError: If an option, the settings or the folder are wrong.
        StudyError: If there is no such study, it has no answer, or it was run with other models.
        EvaluationError: If the export cannot be measured.
        ExportError: If the folder cannot be written.
    """
    folder = folder.absolute()  # a reward may change the working directory
    require_free(folder)
    answered = AnsweredStudy.open(study, storage, settings)
    _require_one_model(answered.anchor, config)
    for name in answered.objective.weights if config.as_ != "realigned" else ():
        require_permission(settings.reward(name), allow_code=config.allow_code)
    plan = answered.plan(config.prompts, config.images)
    device = usable_device(config.device)
    anchor = load_anchor(answered.anchor, device)
    answered.require_same(anchor, plan)
    lam = answered.summary.lam if config.lam is None else config.lam
    try:
        form = _form(anchor, lam, config)
    except deradiff.AnchorError as error:
        raise SettingsError(f"anchor {answered.anchor.name}: {error}") from error
    require_space(folder, form.size)
    measurement = None
    if form.as_aligned is not None:
        keep = _to_keep_in(study, storage, say)  # before a reward changes the working directory
        panel = load_panel(
            settings, answered.objective, device=device, allow_code=config.allow_code
        )
        measurement = measure(
            Models(settings, answered.anchor, anchor, panel, config.batch_size),
            plan[: config.images],
            lam=lam,
            exported=dataclasses.replace(anchor, aligned=form.as_aligned),
            epsilon=config.epsilon or answered.summary.within.epsilon,
            say=say,
        )
        say(measurement.sentence)
        if keep is not None:
            remember_export(keep, _difference(config, lam, measurement))
    found = _described(answered, anchor, config, lam=lam, lora=form.lora, measurement=measurement)
    with whole_folder(folder) as partial:
        form.write(partial, found.call)
        (partial / "README.md").write_text(model_card(found), encoding="utf-8")
    return dataclasses.replace(found, folder=str(folder))


@dataclass(frozen=True)
class _Form:
    """What to write.

    Attributes:
        size: Its size in bytes.
        write: Writes it into a folder, given the arguments of a call.
        as_aligned: The export as the aligned model of an anchor, to be measured at λ = 1; None for
            the exact mixture.
        lora: The LoRA.
    """

    size: int
    write: Callable[[Path, Mapping[str, Any]], None]
    as_aligned: Mapping[str, nn.Module] | None = None
    lora: LoraFacts | None = None


def _form(anchor: deradiff.Anchor, lam: float, config: ExportConfig) -> _Form:
    modules = [m for m in anchor.pipe.components.values() if isinstance(m, nn.Module)]
    if config.as_ == "lora":
        return _lora(anchor, low_rank(anchor, lam, config.rank))
    if config.as_ == "merged":
        merged = merged_components(anchor, lam)
        if config.part == "denoiser":
            return _denoiser(merged)
        return _Form(size_of(modules), lambda f, _: save_pipeline(anchor.pipe, f, merged), merged)
    aligned = [m for m in aligned_components(anchor).values() if isinstance(m, nn.Module)]

    def write(folder: Path, call: Mapping[str, Any]) -> None:
        given = dict(call)
        steps = given.pop("aligned_steps", None)
        deradiff.save_realigned(anchor, folder, lam=lam, call=given, aligned_steps=steps)

    return _Form(size_of([*modules, *aligned]), write)


def _denoiser(merged: Mapping[str, Any]) -> _Form:
    if len(merged) > 1:
        raise SettingsError(
            f"part denoiser given, but the aligned model differs in {', '.join(merged)}: export "
            "the whole pipeline"
        )
    (module,) = merged.values()

    def write(folder: Path, _: Mapping[str, Any]) -> None:
        module.save_pretrained(folder, max_shard_size=WHOLE)
        remove_paths(folder)

    return _Form(size_of([module]), write, merged)


def _lora(anchor: deradiff.Anchor, found: LowRank) -> _Form:
    denoiser: Any = plain_denoiser(anchor.pipe.components[found.component])
    is_unet = found.component == "unet"
    numbers = sum(down.numel() + up.numel() for down, up in found.factors.values())
    return _Form(
        size=numbers * denoiser.dtype.itemsize * (2 if is_unet else 1),
        write=lambda folder, _: found.save(folder, dtype=denoiser.dtype, kohya=is_unet),
        as_aligned={found.component: found.applied_to(denoiser)},
        lora=LoraFacts(found.rank, found.share, found.is_own),
    )


def _to_keep_in(study: str, storage: str | None, say: Say) -> Study | None:
    """Open the study to store the measurement in, None if the database can only be read."""
    try:
        return Study.create(study, storage)
    except StudyError as error:
        say(f"the measurement will not be kept for lamsearch advise: {error}")
        return None


def _difference(config: ExportConfig, lam: float, measured: Measurement) -> ExportDifference:
    assert config.as_ != "realigned"
    return ExportDifference(
        form=config.as_,
        lam=lam,
        difference=measured.difference,
        stderr=measured.stderr,
        interval=measured.interval,
        images=measured.images,
        epsilon=measured.epsilon,
    )


def _require_one_model(anchor: AnchorSettings, config: ExportConfig) -> None:
    if config.as_ != "realigned" and anchor.sampling.aligned_steps is not None:
        raise SettingsError(
            f"anchor {anchor.name} has aligned_steps = {anchor.sampling.aligned_steps}, which one "
            f"set of weights cannot follow: export it as realigned, not as {config.as_}"
        )


def _described(
    answered: AnsweredStudy,
    anchor: deradiff.Anchor,
    config: ExportConfig,
    *,
    lam: float,
    lora: LoraFacts | None,
    measurement: Measurement | None,
) -> Export:
    summary, settings = answered.summary, answered.anchor
    reference = Path(settings.reference)
    is_local = reference.exists()
    return Export(
        study=summary.study,
        folder="",
        form=config.as_,
        anchor=settings.name,
        reference=reference.name if is_local else settings.reference,
        on_hub=not is_local,
        pipeline=type(anchor.pipe).__name__,
        denoiser=denoiser_names(anchor.pipe)[0],
        part=config.part,
        lam=lam,
        is_answer=config.lam is None,
        lam_interval=summary.lam_interval,
        beta=anchor.beta,
        effective_beta=effective_beta(anchor.beta, lam),
        reward=summary.reward or "score",
        value=summary.value,
        call=_call(settings),
        scheduler=type(anchor.pipe.scheduler).__name__,
        lora=lora,
        measurement=measurement,
    )


def _call(settings: AnchorSettings) -> dict[str, Any]:
    """Return the arguments of a pipeline's call, and `aligned_steps` where it is set."""
    sampling = settings.sampling
    given = {
        "num_inference_steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "negative_prompt": sampling.negative_prompt,
        "height": sampling.height,
        "width": sampling.width,
        "num_frames": sampling.frames,
        "aligned_steps": sampling.aligned_steps,
    }
    return {key: value for key, value in given.items() if value is not None}
