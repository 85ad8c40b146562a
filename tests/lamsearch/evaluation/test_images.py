"""λ → scores: equal to a stock call of the pipeline, missing images, memory that runs out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from optuna.trial import TrialState
from PIL.Image import Image

import deradiff
from lamsearch.config.expressions import parse_objective
from lamsearch.config.settings import AnchorSettings, SamplingSettings, load_settings
from lamsearch.errors import EvaluationError, RewardError, SettingsError
from lamsearch.evaluation.image_plan import image_plan
from lamsearch.evaluation.image_statistics import image_statistics
from lamsearch.evaluation.images import ImageEvaluation
from lamsearch.evaluation.loading import load_anchor
from lamsearch.rewards import Panel, as_reward, load_panel, load_reward
from lamsearch.study.batches import Batch
from lamsearch.study.records import Evaluation
from tiny_clip import pictures
from tiny_pipelines import perturb
from tiny_pipelines.videos import wan_with_text

SAMPLING = SamplingSettings(steps=3, guidance_scale=3.0)
PLAN = image_plan(["a red three", "blue", "red blue"], 5, seed=1)


class Brightness:
    """A real reward of the simplest kind."""

    scale = "mean pixel"

    def score(self, images: Sequence[Image], prompts: Sequence[str]) -> np.ndarray:
        return np.array([np.asarray(image).mean() for image in images], dtype=np.float32)


@pytest.fixture(scope="module")
def anchor(world: Path) -> Any:
    return load_anchor(load_settings(world / "lamsearch.toml").anchor("b500"), "cpu")


def at(lam: float, done: Sequence[int] = (), **given: Any) -> Evaluation:
    images = given.pop("images", ((0, len(PLAN)),))
    return Evaluation(0, lam, TrialState.RUNNING, dict.fromkeys(done, 0.0), 0.0, images=images)


def evaluate(anchor: Any, lam: float = 0.4, **options: Any) -> dict[int, float]:
    given = {"sampling": SAMPLING, "batch_size": 5, "reward": as_reward(Brightness()), **options}
    reward = given.pop("reward")
    with ImageEvaluation(anchor, PLAN, Panel.of(reward), **given) as evaluation:
        return {
            i: s
            for batch in evaluation.batches(at(lam))
            for i, s in zip(batch.image_ids, batch.scores, strict=True)
        }


def test_equals_a_stock_call_of_the_realigned_pipeline(anchor: Any, world: Path) -> None:
    reward = load_reward(load_settings(world / "lamsearch.toml").reward("pickscore"))
    scores = evaluate(anchor, reward=reward)
    with anchor.realign(0.4):
        for image in PLAN:
            picture = anchor.pipe(
                image.prompt,
                num_inference_steps=3,
                guidance_scale=3.0,
                generator=torch.Generator().manual_seed(image.seed),
            ).images[0]
            expected = reward.score([picture], [image.prompt])[0]
            assert scores[image.image_id] == pytest.approx(expected, abs=1e-4)


def test_negative_prompt_and_size_reach_the_pipeline(anchor: Any) -> None:
    sampling = SamplingSettings(
        steps=3, guidance_scale=3.0, negative_prompt="blue", height=32, width=24
    )
    sizes = []

    def look(lam: float, ids: Sequence[int], images: Sequence[Image | None]) -> None:
        sizes.extend(image.size for image in images if image)

    changed = evaluate(anchor, sampling=sampling, on_images=look)
    assert set(sizes) == {(24, 32)}
    plain = evaluate(anchor, sampling=SamplingSettings(steps=3, guidance_scale=3.0))
    assert changed != plain


def test_prompts_are_encoded_once_and_only_where_needed(anchor: Any) -> None:
    encoded = []
    encoder = anchor.pipe.text_encoder
    handle = encoder.register_forward_hook(lambda _, given, __: encoded.append(len(given[0])))
    plan = image_plan([f"prompt {i}" for i in range(100)], 100, seed=0)
    panel = Panel.of(as_reward(Brightness()))
    with ImageEvaluation(anchor, plan, panel, sampling=SAMPLING, batch_size=2) as evaluation:
        for lam in (0.0, 0.5):
            list(evaluation.batches(at(lam, images=((0, 4),))))
        first = len(encoded)
        list(evaluation.batches(at(0.0, images=((4, 34),))))
    handle.remove()
    # Two prompts and one, to see what the encoder returns; then batches of 32 by the plan, each
    # with its negative prompts besides.
    assert encoded[:first] == [2, 2, 1, 1, 32, 32]
    assert encoded[first:] == [32, 32]


def scores_of(anchor: Any, world: Path, objective: str, tracked: Sequence[str] = ()) -> Batch:
    settings = load_settings(world / "lamsearch.toml")
    panel = load_panel(settings, parse_objective(objective), tracked)
    with ImageEvaluation(anchor, PLAN, panel, sampling=SAMPLING, batch_size=5) as evaluation:
        return next(evaluation.batches(at(0.4)))


def test_other_rewards_have_the_scores_they_would_have_if_optimised(
    anchor: Any, world: Path
) -> None:
    both = scores_of(anchor, world, "pickscore", ["clip", "pickscore"])
    assert both.scores == scores_of(anchor, world, "pickscore").scores
    assert both.tracked == {"clip": scores_of(anchor, world, "clip").scores}


def test_a_weighted_sum_is_the_sum_and_records_its_terms(anchor: Any, world: Path) -> None:
    summed = scores_of(anchor, world, "pickscore - 0.3*clip")
    assert list(summed.tracked) == ["pickscore", "clip"]
    terms = [np.array(summed.tracked[name]) for name in ("pickscore", "clip")]
    np.testing.assert_array_equal(summed.scores, terms[0] - 0.3 * terms[1])


def test_a_sum_has_no_score_where_one_of_its_rewards_has_none() -> None:
    class Picky(Brightness):
        def score(self, images: Sequence[Image], prompts: Sequence[str]) -> np.ndarray:
            scores = super().score(images, prompts)
            scores[1] = np.nan
            return scores

    rewards = {"a": as_reward(Brightness(), "a"), "b": as_reward(Picky(), "b")}
    panel = Panel(parse_objective("a + b"), rewards)
    scores = panel.score([None, *pictures(2)], ["x", "y", "z"])
    assert np.isnan(scores.objective).tolist() == [True, False, True]
    assert np.isnan(scores.tracked["a"]).tolist() == [True, False, False]


def test_done_images_are_not_generated_again(anchor: Any) -> None:
    with ImageEvaluation(
        anchor, PLAN, Panel.of(as_reward(Brightness())), sampling=SAMPLING, batch_size=2
    ) as evaluation:
        ids = [list(b.image_ids) for b in evaluation.batches(at(0.4, done=[0, 1, 3]))]
    assert ids == [[2], [4]]


def test_unusable_images_are_missing(anchor: Any) -> None:
    """Black where the VAE gives NaN, and those of one colour; the others keep their scores."""
    whole = evaluate(anchor)

    def spoil(module: Any, args: Any, output: Any) -> Any:
        sample = output[0].clone()
        sample[1], sample[2] = float("nan"), sample[2, :, :1, :1]
        return (sample,)

    handle = anchor.pipe.vae.decoder.register_forward_hook(
        lambda module, args, output: spoil(module, args, (output,))[0]
    )
    spoilt = evaluate(anchor)
    handle.remove()
    assert {i for i, score in spoilt.items() if np.isnan(score)} == {1, 2}
    for i in (0, 3, 4):
        assert spoilt[i] == pytest.approx(whole[i], abs=1e-3)


@pytest.mark.slow
def test_the_batch_halves_itself_when_memory_runs_out(anchor: Any) -> None:
    whole, sizes = evaluate(anchor), []

    def limited(limit: int) -> Any:
        def check(module: Any, args: Any) -> None:
            sizes.append(len(args[0]))
            if len(args[0]) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        return anchor.pipe.unet.conv_in.register_forward_pre_hook(check)

    handle = limited(4)  # two images under guidance
    halved = evaluate(anchor)
    handle.remove()
    assert halved.keys() == whole.keys()
    for i, score in whole.items():
        assert halved[i] == pytest.approx(score, abs=1e-2)
    assert sizes[0] == 10  # five images under guidance
    assert max(sizes[sizes.index(4) :]) == 4  # and never more than what fitted
    handle = limited(1)
    with pytest.raises(EvaluationError, match="out of memory with a single image"):
        evaluate(anchor)
    handle.remove()


def test_the_pipeline_is_left_as_it_was(anchor: Any) -> None:
    evaluate(anchor)
    assert "forward" not in vars(anchor.pipe.unet)


class Disobedient(EulerDiscreteScheduler):
    """Draws noise from the global random state."""

    def step(self, model_output: Any, timestep: Any, sample: Any, **kwargs: Any) -> Any:
        output = super().step(model_output, timestep, sample, **kwargs)
        return (output[0] + torch.randn_like(sample), *output[1:])


def test_what_cannot_be_loaded_or_mixed_is_a_setting_error(world: Path) -> None:
    reference = str(world / "reference")
    same = AnchorSettings(name="same", reference=reference, aligned=reference, beta=500.0)
    with pytest.raises(SettingsError, match=r"anchor same: .* changes nothing"):
        load_anchor(same, "cpu")
    aligned = str(world / "b500")
    inexact = load_anchor(
        AnchorSettings(name="b", reference=reference, aligned=aligned, beta=500.0), "cpu"
    )
    inexact.pipe.scheduler = Disobedient.from_config(inexact.pipe.scheduler.config)
    with pytest.raises(SettingsError, match="Disobedient draws noise"):
        evaluate(inexact)


def test_a_scheduler_that_clips_is_mixed_by_its_steps(world: Path) -> None:
    ways: list[str] = []
    clipping = SamplingSettings(
        scheduler="DDIMScheduler", scheduler_config={"clip_sample": True}, steps=2
    )
    anchor = load_anchor(
        AnchorSettings(
            name="b",
            reference=str(world / "reference"),
            aligned=str(world / "b500"),
            beta=500.0,
            sampling=clipping,
        ),
        "cpu",
    )
    scores = evaluate(anchor, sampling=clipping, on_way=ways.append)
    assert ways == ["reverse steps mixed"]
    assert all(np.isfinite(list(scores.values())))


def test_the_reference_alone_takes_the_last_steps(anchor: Any) -> None:
    """Equal to a call whose callback sets λ to 0 after the second of five steps."""
    sampling = SAMPLING.model_copy(update={"steps": 5, "aligned_steps": 2})
    scores = evaluate(anchor, lam=0.7, sampling=sampling, batch_size=2)

    def switch(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        realignment.lam = 0.7 if step < 1 else 0.0
        return kwargs

    for image in PLAN:
        with anchor.realign(0.7) as realignment:
            picture = anchor.pipe(
                image.prompt,
                num_inference_steps=5,
                guidance_scale=3.0,
                generator=torch.Generator().manual_seed(image.seed),
                callback_on_step_end=switch,
            ).images[0]
        assert scores[image.image_id] == pytest.approx(np.asarray(picture).mean(), abs=0.05)


def test_it_says_once_how_models_are_mixed(anchor: Any) -> None:
    ways: list[str] = []
    options = {"sampling": SAMPLING, "batch_size": 2, "on_way": ways.append}
    with ImageEvaluation(anchor, PLAN, Panel.of(as_reward(Brightness())), **options) as evaluation:
        for lam in (0.0, 0.4, 1.0, 0.6):
            list(evaluation.batches(at(lam)))
    assert ways == ["model outputs mixed"]


def test_a_video_has_the_mean_score_of_its_frames() -> None:
    pipe = wan_with_text()
    anchor = deradiff.Anchor(pipe, perturb(pipe.transformer, 1, 0.1), beta=None)
    sampling = SamplingSettings(steps=2, guidance_scale=3.0, height=16, width=16, frames=5)
    shown: list[Image | None] = []
    scores = evaluate(
        anchor,
        sampling=sampling,
        batch_size=2,
        on_images=lambda lam, ids, images: shown.extend(images),
    )
    with anchor.realign(0.4):
        for i, image in enumerate(PLAN):
            video = pipe(
                image.prompt,
                num_inference_steps=2,
                guidance_scale=3.0,
                height=16,
                width=16,
                num_frames=5,
                generator=torch.Generator().manual_seed(image.seed),
            ).frames[0]
            assert video.shape == (5, 16, 16, 3)
            assert scores[i] == pytest.approx(255 * video.mean(), abs=1.0)
            middle = shown[i]
            assert middle is not None
            assert np.asarray(middle) == pytest.approx(255 * video[2], abs=1.0)


class Hungry(Brightness):
    """A reward that says that memory has run out, on more images than it can take."""

    def __init__(self, most: int) -> None:
        self.most = most

    def score(self, images: Sequence[Image], prompts: Sequence[str]) -> np.ndarray:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().score(images, prompts)


def test_memory_that_a_reward_runs_out_of_is_not_blamed_on_the_image_size(anchor: Any) -> None:
    calls: list[int] = []
    handle = anchor.pipe.vae.decoder.register_forward_hook(lambda *_: calls.append(1))
    assert evaluate(anchor, reward=as_reward(Hungry(2))) == evaluate(anchor)
    assert len(calls) == 2  # no image is generated again for its sake
    with pytest.raises(RewardError, match="reward 'Hungry': raised OutOfMemoryError: CUDA out"):
        evaluate(anchor, reward=as_reward(Hungry(0)))
    handle.remove()


def test_a_reward_that_paints_changes_neither_scores_nor_what_people_see(anchor: Any) -> None:
    class Paints(Brightness):
        def score(self, images: Sequence[Image], prompts: Sequence[str]) -> np.ndarray:
            scores = super().score(images, prompts)
            for image in images:
                image.paste("white", (0, 0, *image.size))
            return scores

    seen: dict[str, list[bytes]] = {}
    for reward in (Brightness(), Paints()):
        kept = seen.setdefault(type(reward).__name__, [])
        evaluate(
            anchor,
            reward=as_reward(reward),
            on_images=lambda lam, ids, images, kept=kept: kept.extend(i.tobytes() for i in images),
        )
    assert seen["Paints"] == seen["Brightness"]


def test_every_image_has_the_statistics_of_what_people_see(anchor: Any) -> None:
    shown: dict[int, Any] = {}

    def keep(lam: float, ids: Sequence[int], images: Sequence[Any]) -> None:
        shown.update(zip(ids, images, strict=True))

    with ImageEvaluation(
        anchor,
        PLAN,
        Panel.of(as_reward(Brightness())),
        sampling=SAMPLING,
        batch_size=2,
        on_images=keep,
    ) as evaluation:
        batches = list(evaluation.batches(at(0.4)))
    for batch in batches:
        assert batch.statistics == image_statistics([shown[i] for i in batch.image_ids])
    assert sorted(shown) == list(range(len(PLAN)))
