"""Every anchor of a family emulates every other: check, load, evaluate, compare.

An agreement is one study per anchor, with a fixed list of λs, and a study that heads them. All are
in one database, and every model draws the same images: the plan has the same prompts and seeds for
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from lamsearch.agreement.analysis import read_agreement
from lamsearch.agreement.config import AgreementConfig
from lamsearch.agreement.family import Family, beta_of
from lamsearch.agreement.results import FamilyAgreement
from lamsearch.agreement.scores import child_name
from lamsearch.config.expressions import Objective
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import AnchorSettings, Settings, find_settings, load_settings
from lamsearch.errors import NoScoreError, SettingsError
from lamsearch.evaluation.image_plan import GROWING, PlannedImage, image_plan
from lamsearch.evaluation.loading import Models, load_anchor, usable_device
from lamsearch.keywords import AgreeKeywords, FamilyProgress, check_keywords
from lamsearch.loop import search_loop
from lamsearch.report.quotes import REFERENCE_FACT, store_quotes
from lamsearch.rewards import load_panel
from lamsearch.study.database import Study
from lamsearch.study.fixed_lams import FixedLams
from lamsearch.study.manifest import AGREEMENT_FACT
from lamsearch.study.proposal import Budget
from lamsearch.study.storage import DEFAULT_STORAGE


def agree(
    anchor: Sequence[str], reward: Sequence[str], **keywords: Unpack[AgreeKeywords]
) -> FamilyAgreement:
    """Measure how far β/λ can be trusted within a family of anchors.

    Every anchor is realigned to the strength of every other, and its mean score compared with that
    of the other itself (arXiv 2601.20198, section 5). An agreement that exists is resumed: images
    that were scored are kept, and an anchor, or more images, may be added.

    Args:
        anchor: Names of at least two anchors in the settings, of one reference.
        reward: Names of rewards there.
        **keywords: Fields of `AgreementConfig`, and `config`, `study`, `storage` and `progress` as
            in `AgreeKeywords`.

    Returns:
        What the agreement says.

    Raises:
        SettingsError: If an argument or the settings are wrong, or the anchors are no family.
        StudyError: If the study exists with other settings, or cannot be opened.
        RewardError: If a reward cannot be loaded or breaks its contract.
        EvaluationError: If no usable image comes out at some λ ≤ 1.
    """
    check_keywords("agree", keywords, AgreeKeywords)
    options = AgreementConfig.select({**keywords})
    given = keywords.get("config")
    settings = load_settings(find_settings(None if given is None else Path(given)))
    family = Family.from_settings(settings, _names(anchor))
    rewards = _rewards(settings, _names(reward))
    plan = _plan(settings, options)
    device = usable_device(options.device)
    name = keywords.get("study") or f"agreement-seed{options.seed}"
    study = Study.create(name, keywords.get("storage") or DEFAULT_STORAGE)
    objective, tracked = Objective({rewards[0]: 1.0}), rewards[1:]
    panel = load_panel(settings, objective, tracked, device=device)
    work = _Work(study, family, plan, options, progress=keywords.get("progress"))
    for member in family.anchors:
        loaded = load_anchor(member, device)
        models = Models(settings, member, loaded, panel, options.batch_size)
        study.bind({"rewards": rewards, "reference": models.reference_fingerprint})
        study.remember(REFERENCE_FACT, models.reference_fingerprint)
        study.remember(AGREEMENT_FACT, work.members())
        work.evaluate(member, models)
    found = read_agreement(study)
    store_quotes(study, {each.reward: each.sentence for each in found.rewards})
    return found


@dataclass(frozen=True)
class _Work:
    """What is to be evaluated, and where it is stored."""

    study: Study
    family: Family
    plan: Sequence[PlannedImage]
    options: AgreementConfig
    progress: FamilyProgress | None

    def members(self) -> dict[str, object]:
        """Return the anchors and the images of the whole agreement, former ones included."""
        former = self.study.recall(AGREEMENT_FACT) or {"betas": {}, "images": 0}
        betas = {**former["betas"], **{a.name: beta_of(a) for a in self.family.anchors}}
        return {
            "betas": dict(sorted(betas.items(), key=lambda item: item[1])),
            "images": max(former["images"], self.options.images),
        }

    def evaluate(self, anchor: AnchorSettings, models: Models) -> None:
        """Evaluate one anchor at its λs; what is stored already is kept."""
        lams = list(self.family.lams(anchor))
        child = self.study.beside(child_name(self.study.name, anchor.name), (0.0, max(lams)))
        child.bind({"agreement": self.study.name, **models.manifest(self.plan[:GROWING])})
        if self.progress is not None:
            self.progress.emulating(anchor.name, len(lams), self.options.images)
        on_way = None if self.progress is None else self.progress.mixing
        with models.evaluation(self.plan, on_way=on_way) as evaluation:
            while True:
                policy = FixedLams(tuple(lams), self.options.images)
                try:
                    search_loop(
                        child, evaluation, policy=policy, budget=Budget(), progress=self.progress
                    )
                except NoScoreError as error:
                    if error.lam <= 1:
                        raise
                    lams.remove(error.lam)  # extrapolated too far: no image is left
                else:
                    return


def _names(given: Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _rewards(settings: Settings, names: Sequence[str]) -> list[str]:
    if not names:
        raise SettingsError("no reward given, expected the names of one or more in the settings")
    for name in names:
        settings.reward(name)
    return list(dict.fromkeys(names))


def _plan(settings: Settings, options: AgreementConfig) -> tuple[PlannedImage, ...]:
    file = options.prompts or (settings.prompts.file if settings.prompts else None)
    if file is None:
        raise SettingsError(f"{settings.path} names no prompts: add [prompts] file, or --prompts")
    return image_plan(read_prompts(file), max(options.images, GROWING), options.seed)
