"""Strips of an anchor's images over λ: the same prompts and seeds at every λ."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import Settings
from lamsearch.errors import EvaluationError, ExportError, SettingsError
from lamsearch.evaluation.image_plan import PlannedImage, image_plan
from lamsearch.evaluation.loading import Models, load_anchor, usable_device
from lamsearch.exports.answered_study import AnsweredStudy
from lamsearch.exports.config import LARGEST_STRIP, SampleConfig
from lamsearch.exports.folder import require_free, whole_folder
from lamsearch.exports.measurement import sample_plan
from lamsearch.report.rows import beta_text, effective_beta
from lamsearch.report.strip import Column, draw_strip
from lamsearch.rewards import Panel

PICTURES = (".png", ".webp", ".jpg", ".jpeg")
_DEFAULT_ROWS = 4


@dataclass(frozen=True)
class Strip:
    """A strip that was written.

    Attributes:
        output: The picture, or the folder with `strip.png` and the single images.
        anchor: Name of the anchor.
        lams: λs of the columns, ascending.
        effective_betas: β/λ of the columns, None where the anchor has no β or λ = 0.
        lam_star: The study's λ*, None without a study.
        prompts: Prompts of the rows.
        seeds: Seeds of the rows.
        missing: Number of images that did not come out.
    """

    output: str
    anchor: str
    lams: tuple[float, ...]
    effective_betas: tuple[float | None, ...]
    lam_star: float | None
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    missing: int


def sample(
    anchor: str,
    output: Path,
    *,
    settings: Settings,
    config: SampleConfig,
    study: str | None = None,
    storage: str | None = None,
) -> Strip:
    """Write a strip of an anchor's images.

    Args:
        anchor: Name of an anchor in the settings.
        output: A picture, or a folder that does not exist or is empty.
        settings: The settings file.
        config: λs, prompts and seeds.
        study: A study of this anchor, whose λ* is added and whose seeds are the default.
        storage: URL of its database.

    Raises:
        SettingsError: If an option, the settings or the output are wrong.
        StudyError: If there is no such study, or it has no answer.
        EvaluationError: If no image comes out.
        ExportError: If the output cannot be written.
    """
    _require_writable(output)
    chosen = settings.anchor(anchor)
    answered = None if study is None else AnsweredStudy.open(study, storage, settings)
    if answered is not None and answered.summary.anchor != anchor:
        raise SettingsError(
            f"study '{study}' is of the anchor '{answered.summary.anchor}': give --anchor "
            f"{answered.summary.anchor}"
        )
    star = None if answered is None else answered.summary.lam
    lams = sorted({*config.lam, *([] if star is None else [star])})
    seed = config.seed if config.seed is not None else 0 if answered is None else answered.seed
    plan = _rows(settings, config, seed)
    if len(lams) * len(plan) > LARGEST_STRIP:
        raise SettingsError(f"{len(lams)} λs of {len(plan)} rows given, expected fewer images")
    loaded = load_anchor(chosen, usable_device(config.device))
    models = Models(settings, chosen, loaded, Panel.empty(), config.batch_size)
    found = {lam: sample_plan(models, plan, lam).images for lam in lams}
    if all(image is None for images in found.values() for image in images):
        raise EvaluationError(f"no usable image comes out of anchor {anchor}: check its settings")
    betas = tuple(effective_beta(chosen.beta, lam) for lam in lams)
    columns = [
        Column(_label(lam, beta, is_answer=lam == star), found[lam])
        for lam, beta in zip(lams, betas, strict=True)
    ]
    prompts = tuple(image.prompt for image in plan)
    _write(draw_strip(columns, prompts), found, output)
    return Strip(
        output=str(output),
        anchor=anchor,
        lams=tuple(lams),
        effective_betas=betas,
        lam_star=star,
        prompts=prompts,
        seeds=tuple(image.seed for image in plan),
        missing=sum(image is None for images in found.values() for image in images),
    )


def _rows(settings: Settings, config: SampleConfig, seed: int) -> tuple[PlannedImage, ...]:
    """Return the images of a column: given prompts in their order, those of a file as searched."""
    if config.prompt and config.prompts is not None:
        raise SettingsError("both --prompt and --prompts given, expected one of them")
    if config.prompt:
        texts = list(config.prompt)
        seeds = image_plan(texts, config.images or len(texts), seed)
        return tuple(
            dataclasses.replace(image, prompt=texts[image.image_id % len(texts)]) for image in seeds
        )
    texts = read_prompts(config.prompts or settings.require_prompts().file)
    return image_plan(texts, config.images or _DEFAULT_ROWS, seed)


def _label(lam: float, beta: float | None, *, is_answer: bool) -> str:
    name = "λ*" if is_answer else "λ"
    strength = "reference" if lam == 0 else "" if beta is None else f"β/λ {beta_text(beta)}"
    return f"{name} {lam:.4g}" + (f"\n{strength}" if strength else "")


def _require_writable(output: Path) -> None:
    suffix = output.suffix.lower()
    if not suffix or output.is_dir():
        require_free(output)
    elif suffix not in PICTURES:
        expected = f"expected one of {', '.join(PICTURES)}, or a folder without a suffix"
        raise SettingsError(f"cannot write {output}: {expected}")
    else:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=output.parent):
                pass
        except OSError as error:
            raise SettingsError(f"cannot write {output}: {error.strerror or error}") from error


def _aside(strip: Image, output: Path) -> str:
    """Keep a strip as PNG, which has room for any, and return where it is; empty if that fails."""
    file = output.with_suffix(".png")
    if file == output or file.exists():
        return ""
    try:
        strip.save(file)
    except OSError:
        return ""
    return f"; it is in {file}"


def _write(strip: Image, found: dict[float, Sequence[Image | None]], output: Path) -> None:
    if output.suffix.lower() in PICTURES and not output.is_dir():
        partial = output.with_name(f".{os.getpid()}-{output.name[-60:]}")
        try:
            strip.save(partial)
            partial.replace(output)
        except (OSError, ValueError) as error:  # formats have a largest size
            reason = getattr(error, "strerror", None) or error
            raise ExportError(f"cannot write {output}: {reason}{_aside(strip, output)}") from error
        finally:
            partial.unlink(missing_ok=True)
        return
    with whole_folder(output) as folder:
        strip.save(folder / "strip.png")
        for lam, images in found.items():
            for row, image in enumerate(images):
                if image is not None:
                    image.save(folder / f"lam-{lam}-image-{row}.png")
