"""Every anchor of a family emulates every other: check, load, evaluate, compare.

An agreement is one study per anchor, with a fixed list of λs, and a study that heads them. All are
in one database, and every model draws the same images: the plan has the same prompts and seeds for
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from lamsearch.agreement.analysis import read_agreement
from lamsearch.agreement.config import AgreementConfig
from lamsearch.agreement.family import Family
from lamsearch.agreement.results import FamilyAgreement
from lamsearch.config.expressions import Objective
from lamsearch.config.places import Places
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import AnchorSettings, Settings, find_settings, load_settings
from lamsearch.errors import NoScoreError, SettingsError
from lamsearch.evaluation.image_plan import GROWING, PlannedImage, image_plan
from lamsearch.evaluation.loading import Models, load_anchor, usable_device
from lamsearch.keywords import AgreeKeywords, FamilyProgress, check_keywords, check_progress
from lamsearch.loop import search_loop
from lamsearch.plain_text import shown
from lamsearch.report.quotes import store_quotes
from lamsearch.rewards import Panel, load_panel
from lamsearch.rewards.permission import require_permission
from lamsearch.study.database import Study
from lamsearch.study.fixed_lams import FixedLams
from lamsearch.study.manifest import (
    AGREEMENT_FACT,
    COMMAND_FACT,
    REFERENCE_FACT,
    agreement_betas,
    child_name,
)
from lamsearch.study.proposal import Budget
from lamsearch.study.storage import chosen_storage

_OF_AN_ANCHOR = ("anchor", "beta", "weights", "strength")
"""What may differ between the anchors of an agreement; all else is one for all of them."""


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
    check_progress(keywords.get("progress"), FamilyProgress)
    places = Places.select({**keywords})
    settings = load_settings(find_settings(places.config))
    family = Family.from_settings(settings, _names("anchor", anchor))
    rewards = _rewards(settings, _names("reward", reward), allow_code=options.allow_code)
    prompts = read_prompts(options.prompts or settings.require_prompts().file)
    device = usable_device(options.device)
    name = places.study or f"agreement-seed{options.seed}"
    study = Study.create(name, chosen_storage(places.storage))
    former = study.recall(AGREEMENT_FACT) or {"images": 0}
    family.require_fits(agreement_betas(study.facts_of_all(), name))
    images = max(former["images"], options.images)
    plan = image_plan(prompts, max(images, GROWING), options.seed)
    panel = load_panel(
        settings,
        Objective({rewards[0]: 1.0}),
        rewards[1:],
        device=device,
        allow_code=options.allow_code,
    )
    work = _Work(study, family, settings, panel, plan, images, keywords.get("progress"))
    for member in family.anchors:
        work.evaluate(member, device, options.batch_size)
    study.remember(COMMAND_FACT, _command(settings, family, list(rewards), options, name))
    found = read_agreement(study)
    if not found.notes:
        store_quotes(study, {each.reward: each.sentence for each in found.rewards})
    return found


@dataclass(frozen=True)
class _Work:
    """What is to be evaluated, and where it is stored."""

    study: Study
    family: Family
    settings: Settings
    panel: Panel
    plan: Sequence[PlannedImage]
    images: int
    progress: FamilyProgress | None

    def evaluate(self, anchor: AnchorSettings, device: str, batch_size: int) -> None:
        """Evaluate one anchor at its λs; what is stored already is kept."""
        lams = self.family.lams(anchor)
        models = Models(self.settings, anchor, load_anchor(anchor, device), self.panel, batch_size)
        child = self.study.beside(child_name(self.study.name, anchor.name), (0.0, max(lams)))
        if self.progress is not None:
            self.progress.emulating(anchor.name, len(lams), self.images)
        on_way = None if self.progress is None else self.progress.mixing
        with models.evaluation(self.plan, on_way=on_way) as evaluation:
            # Bound only now: what the pipeline does not take must not stay in the manifest.
            self._bind(child, anchor, models)
            while lams:
                policy = FixedLams(lams, self.images)
                try:
                    search_loop(
                        child, evaluation, policy=policy, budget=Budget(), progress=self.progress
                    )
                except NoScoreError as error:
                    if error.lam <= 1 and error.lam in lams:
                        raise
                    # Extrapolated too far: no image is left.
                    lams = tuple(lam for lam in lams if lam != error.lam)
                else:
                    return

    def _bind(self, child: Study, anchor: AnchorSettings, models: Models) -> None:
        """Hold both studies to what they depend on; with that the anchor is counted in."""
        manifest = models.manifest(self.plan[:GROWING])
        shared = {key: fact for key, fact in manifest.items() if key not in _OF_AN_ANCHOR}
        reference = models.reference_fingerprint
        rewards = list(self.panel.rewards)
        self.study.bind({**shared, "rewards": rewards, "reference": reference})
        child.bind({"agreement": self.study.name, **manifest})
        self.study.remember(REFERENCE_FACT, reference)
        self.study.remember(AGREEMENT_FACT, {"images": self.images})


def _names(option: str, given: Sequence[str]) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise SettingsError(f"{option} {shown(given)} given, expected a list of names")
    return list(given)


def _rewards(settings: Settings, names: Sequence[str], *, allow_code: bool) -> list[str]:
    if not names:
        raise SettingsError("no reward given, expected the names of one or more in the settings")
    for name in names:
        require_permission(settings.reward(name), allow_code=allow_code)
    return list(dict.fromkeys(names))


def _command(
    settings: Settings, family: Family, rewards: list[str], options: AgreementConfig, study: str
) -> list[str]:
    """Return the words of the command line that reproduces the agreement."""
    words = ["lamsearch", "agree"]
    for member in family.anchors:
        words += ["--anchor", member.name]
    words += ["--reward", ",".join(rewards), *settings.flag, *options.flags()]
    return [*words, "--study", study]
