"""Options of a pipeline are validated when they are given, with one clear line."""

from __future__ import annotations

import pytest
import torch

from deradiff import AnchorError, PipelineOptions
from deradiff.options import DTYPES, scheduler_class


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (
            "flat16",
            "dtype 'flat16' given, expected one of float32, float16, bfloat16; "
            "did you mean 'float16'?",
        ),
        ("int8", "dtype 'int8' given, expected one of float32, float16, bfloat16"),
        (
            torch.float16,
            "dtype torch.float16 given, expected one of float32, float16, bfloat16; "
            "did you mean 'float16'?",
        ),
    ],
)
def test_an_unknown_dtype_is_refused(dtype: str, message: str) -> None:
    with pytest.raises(AnchorError) as caught:
        PipelineOptions(dtype=dtype)
    assert str(caught.value) == message


def test_every_dtype_is_one_of_torch() -> None:
    for dtype in DTYPES:
        assert isinstance(getattr(torch, PipelineOptions(dtype=dtype).dtype), torch.dtype)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EulerAncestralScheduler", "EulerAncestralDiscreteScheduler"),
        ("EulerAncestralDiscreteSchedular", "EulerAncestralDiscreteScheduler"),
        ("EulerAcnestralDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        ("ddim", "DDIMScheduler"),
        ("EulerAnc", "EulerAncestralDiscreteScheduler"),
    ],
)
def test_a_misspelt_scheduler_is_refused_with_a_hint(name: str, meant: str) -> None:
    with pytest.raises(AnchorError) as caught:
        PipelineOptions(scheduler=name)
    expected = f"scheduler '{name}' given, expected a diffusers scheduler; did you mean '{meant}'?"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "name", ["UNet2DModel", "StableDiffusionPipeline", "AysSchedules", "scheduling_ddim", "logger"]
)
def test_what_is_not_a_scheduler_is_refused(name: str) -> None:
    with pytest.raises(AnchorError, match=f"^scheduler '{name}' given, expected a diffusers"):
        PipelineOptions(scheduler=name)


@pytest.mark.parametrize("name", ["", "Scheduler", "SchedulerMixin", "KarrasDiffusionSchedulers"])
def test_neither_their_base_nor_a_list_of_them_is_a_scheduler(name: str) -> None:
    with pytest.raises(AnchorError, match="expected a diffusers scheduler"):
        PipelineOptions(scheduler=name)


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"]
)
def test_the_schedulers_of_diffusers_are_taken(name: str) -> None:
    assert scheduler_class(PipelineOptions(scheduler=name).scheduler or "").__name__ == name


def test_a_scheduler_that_lacks_a_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """As diffusers leaves a dummy in its place."""
    from diffusers import schedulers
    from diffusers.utils import DummyObject

    dummy = DummyObject("CurlScheduler", (), {"_backends": ["torch", "curl"]})
    monkeypatch.setattr(schedulers, "CurlScheduler", dummy, raising=False)
    with pytest.raises(AnchorError, match="'CurlScheduler' given, but diffusers needs torch and c"):
        PipelineOptions(scheduler="CurlScheduler")
