"""Every family of pipelines: realigned through the public API, against mixtures made by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from deradiff import realign
from tiny_pipelines.attachments import add_lora, attach_style_lora
from tiny_pipelines.families import FAMILIES
from tiny_pipelines.family import Exactness, Family, quiet
from tiny_pipelines.unets import SD15, SDXL

# Chroma of diffusers 0.42 builds itself with a class that diffusers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")

LATER = [family for family in FAMILIES if family.exactness is not Exactness.MODEL_OUTPUTS]
STORED = list({family.build: family for family in reversed(FAMILIES)}.values())
"""One family per pipeline: what is attached to one is not stored with it."""

QUICK = ("Stable Diffusion 1.5", "Stable Diffusion 3.5", "Z-Image", "Wan 2.2, two denoisers")
"""The families that `-m "not slow"` runs."""


def of_families(families: Iterable[Family]) -> pytest.MarkDecorator:
    """Run a test for each family, as a slow one unless the family is among the quick ones."""
    return pytest.mark.parametrize(
        "family",
        [
            pytest.param(each, id=each.name, marks=() if each.name in QUICK else pytest.mark.slow)
            for each in families
        ],
    )


each_family = of_families(FAMILIES)


@each_family
def test_weights_0_and_1_are_the_stock_pipelines_bit_for_bit(family: Family) -> None:
    reference = family.sample(family.pipeline())
    aligned = family.sample(family.pipeline(denoisers=family.aligned()))
    assert largest_difference(reference, aligned) > 0.01
    pipe = family.pipeline()
    with realign(pipe, given(family.aligned()), 0.0) as realignment:
        assert torch.equal(family.sample(pipe), reference)
        realignment.lam = 1.0
        assert torch.equal(family.sample(pipe), aligned)
    assert torch.equal(family.sample(pipe), reference)


@each_family
def test_one_half_is_the_mixture_made_by_hand(family: Family) -> None:
    expected = half_by_hand(family)
    pipe = family.pipeline()
    with realign(pipe, given(family.aligned()), 0.5) as realignment:
        assert_same(family.sample(pipe), expected)
        assert realignment.way == family.exactness


@of_families(LATER)
def test_mixing_at_an_earlier_place_would_not_be_exact(family: Family) -> None:
    exact = half_by_hand(family)
    by_outputs = largest_difference(half_of_model_outputs(family), exact)
    by_guided = largest_difference(in_lockstep(family, *pair(family)), exact)
    if family.exactness is Exactness.GUIDED:
        assert by_outputs > 1e-4
        assert by_guided == 0.0
    else:
        assert min(by_outputs, by_guided) > 1e-4


@each_family
def test_one_weight_per_image_equals_each_image_alone(family: Family) -> None:
    lams, seeds = (0.0, 0.5, 1.0, 0.5), (11, 12, 13, 14)
    pipe = family.pipeline()
    with realign(pipe, given(family.aligned()), torch.tensor(lams)) as realignment:
        together = family.sample(pipe, (0, 1), per_prompt=2, seeds=seeds)
        assert len(together) == len(lams)
        for i, (lam, seed) in enumerate(zip(lams, seeds, strict=True)):
            realignment.lam = lam
            alone = family.sample(pipe, (i // 2,), seeds=[seed])
            assert_same(together[i : i + 1], alone)


@of_families(STORED)
def test_saved_and_loaded_it_is_the_same(family: Family, tmp_path: Path) -> None:
    pipe = family.pipeline()
    with realign(pipe, given(family.aligned()), 0.5):
        expected = family.sample(pipe)
    family.build(0).save_pretrained(tmp_path / "reference")
    aligned = {}
    for name, denoiser in family.aligned().items():
        denoiser.save_pretrained(tmp_path / name)
        aligned[name] = type(denoiser).from_pretrained(tmp_path / name)
    absent = {name: None for name, part in pipe.components.items() if part is None}
    loaded = type(pipe).from_pretrained(tmp_path / "reference", **absent)
    family.attach(loaded)
    with realign(quiet(loaded), given(aligned), 0.5):
        assert torch.equal(family.sample(loaded), expected)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
@pytest.mark.parametrize("family", [SD15, SDXL], ids=lambda family: family.name)
def test_a_lora_anchor_comes_on_top_of_a_style_lora(family: Family) -> None:
    def with_loras(*active: str) -> DiffusionPipeline:
        pipe = family.pipeline()
        attach_style_lora(pipe)
        add_lora(pipe.unet, "anchor", seed=22)
        pipe.unet.set_adapters(list(active))
        return pipe

    reference, aligned = with_loras("style"), with_loras("style", "anchor")
    ends = family.sample(reference), family.sample(aligned)
    half = in_lockstep(family, reference, aligned)
    pipe = with_loras("style")
    with realign(pipe, "anchor", 0.0) as realignment:
        assert torch.equal(family.sample(pipe), ends[0])
        realignment.lam = 1.0
        assert torch.equal(family.sample(pipe), ends[1])
        realignment.lam = 0.5
        assert_same(family.sample(pipe), half)
    assert torch.equal(family.sample(pipe), ends[0])


def test_each_of_two_denoisers_may_have_its_own_weight() -> None:
    family = two_denoisers()
    first, second = family.denoisers
    aligned = family.aligned()
    expected = family.sample(family.pipeline(denoisers={second: aligned[second]}))
    pipe = family.pipeline()
    with realign(pipe, aligned, {first: 0.0, second: 1.0}):
        assert torch.equal(family.sample(pipe), expected)


def test_both_of_two_denoisers_take_part() -> None:
    family = two_denoisers()
    pipe, calls = family.pipeline(), dict.fromkeys(family.denoisers, 0)
    for name in calls:

        def count(*_: Any, name: str = name) -> None:
            calls[name] += 1

        getattr(pipe, name).register_forward_hook(count)
    family.sample(pipe)
    assert min(calls.values()) > 0


def test_names_are_unique() -> None:
    assert set(QUICK) <= {family.name for family in FAMILIES}
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def two_denoisers() -> Family:
    (family,) = (family for family in FAMILIES if len(family.denoisers) == 2)
    return family


def given(aligned: Mapping[str, nn.Module]) -> Any:
    """Return aligned denoisers as `realign` takes them: one alone, or several by name."""
    return dict(aligned) if len(aligned) > 1 else next(iter(aligned.values()))


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two tensors, relative to the largest entry."""
    return float((one - other).abs().max() / other.abs().max())


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    scale = float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * scale)


def half_of_model_outputs(family: Family) -> Tensor:
    """Sample from a pipeline whose denoisers return ½ · reference + ½ · aligned."""
    pipe, other = pair(family)
    for name in family.denoisers:
        reference = getattr(pipe, name)
        reference.forward = _mean_forward(reference, getattr(other, name))
    return family.sample(pipe)


def _mean_forward(reference: nn.Module, aligned: nn.Module) -> Callable[..., tuple[Any]]:
    original = reference.forward

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> tuple[Any]:
        # A pipeline may exchange attention processors for the time of its call.
        if hasattr(reference, "attn_processors"):
            aligned.set_attn_processor(dict(reference.attn_processors))
        one, other = original(*args, **kwargs)[0], aligned(*args, **kwargs)[0]
        if isinstance(one, Tensor):
            return (0.5 * one + 0.5 * other,)
        return ([0.5 * x + 0.5 * y for x, y in zip(one, other, strict=True)],)

    return forward


def pair(family: Family) -> tuple[DiffusionPipeline, DiffusionPipeline]:
    """Return the reference's pipeline and the aligned one."""
    return family.pipeline(), family.pipeline(denoisers=family.aligned())


@cache
def half_by_hand(family: Family) -> Tensor:
    """Guide both models by themselves, and mix their predictions or, where named, their steps."""
    return in_lockstep(family, *pair(family), steps=family.exactness is Exactness.STEPS)


def in_lockstep(family: Family, *pipelines: DiffusionPipeline, steps: bool = False) -> Tensor:
    """Sample from two pipelines in threads that meet at every scheduler step, and mix there.

    Args:
        family: The family of both pipelines.
        pipelines: The reference's pipeline and the aligned one.
        steps: Whether to mix the samples after the steps, which is the mixture of reverse steps of
            equal variance (arXiv 2601.20198, Eq. 7), instead of the predictions before them.
    """
    meeting = threading.Barrier(len(pipelines), timeout=60)
    values: list[Any] = [None] * len(pipelines)

    def mean(which: int, value: Tensor) -> Tensor:
        values[which] = value
        meeting.wait()
        mixed = 0.5 * values[0] + 0.5 * values[1]
        meeting.wait()
        return mixed

    def meet(which: int, step: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(step)
        def mixed_step(model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
            if steps:
                return (mean(which, step(model_output, *args, **kwargs)[0]),)
            return step(mean(which, model_output), *args, **kwargs)

        return mixed_step

    def sample(pipe: DiffusionPipeline) -> Tensor:
        # The limit of the main thread does not hold in others.
        torch.set_num_threads(1)
        try:
            return family.sample(pipe)
        except BaseException:
            meeting.abort()
            raise

    for which, pipe in enumerate(pipelines):
        pipe.scheduler.step = meet(which, pipe.scheduler.step)
    with ThreadPoolExecutor(len(pipelines)) as pool:
        first, second = pool.map(sample, pipelines)
    for pipe in pipelines:
        del pipe.scheduler.step
    assert torch.equal(first, second)
    return first
