"""Settings of the sampler of a whole aligned pipeline that would sample otherwise are refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

import tiny_pipelines
from deradiff import AnchorError
from deradiff.formats.samplers import require_same_sampler

SCHEDULE = tiny_pipelines.SCHEDULE
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


@pytest.mark.parametrize(
    ("kind", "common", "setting"),
    [
        (FlowMatchEulerDiscreteScheduler, {}, {"use_karras_sigmas": True}),
        (FlowMatchEulerDiscreteScheduler, {}, {"use_exponential_sigmas": True}),
        (FlowMatchEulerDiscreteScheduler, {}, {"use_beta_sigmas": True}),
        (FlowMatchEulerDiscreteScheduler, {}, {"stochastic_sampling": True}),
        (UniPCMultistepScheduler, FLOW, {"use_karras_sigmas": True}),
        (UniPCMultistepScheduler, FLOW, {"solver_order": 3}),
        (EulerDiscreteScheduler, SCHEDULE, {"use_karras_sigmas": True}),
        (EulerDiscreteScheduler, SCHEDULE, {"use_beta_sigmas": True}),
        (EulerDiscreteScheduler, SCHEDULE, {"timestep_spacing": "trailing"}),
        (DDIMScheduler, {"timestep_spacing": "leading"}, {"steps_offset": 1}),
        (DDIMScheduler, SCHEDULE, {"clip_sample": False}),
        (DDIMScheduler, SCHEDULE, {"set_alpha_to_one": False}),
        (PNDMScheduler, SCHEDULE, {"skip_prk_steps": True}),
        (DPMSolverMultistepScheduler, SCHEDULE, {"algorithm_type": "sde-dpmsolver++"}),
        (DPMSolverMultistepScheduler, SCHEDULE, {"final_sigmas_type": "sigma_min"}),
    ],
)
def test_another_setting_of_the_same_sampler(
    kind: Any, common: dict[str, Any], setting: dict[str, Any]
) -> None:
    reference = kind(**common)
    require_same_sampler(reference, kind(**common))
    aligned = kind(**{**common, **setting})
    name = next(iter(setting))
    with pytest.raises(AnchorError, match=rf"{name} differs: .*set {name} in `scheduler_config`"):
        require_same_sampler(reference, aligned)
    require_same_sampler(reference, aligned, chosen=[name])


@pytest.mark.parametrize(
    ("kind", "common", "setting"),
    [
        (FlowMatchEulerDiscreteScheduler, {}, {"max_shift": 3.0}),  # of dynamic shifting alone
        (DDIMScheduler, SCHEDULE, {"dynamic_thresholding_ratio": 0.9}),  # of thresholding alone
        (EulerAncestralDiscreteScheduler, SCHEDULE, {"steps_offset": 2}),  # not of this spacing
        (DPMSolverMultistepScheduler, SCHEDULE, {"lower_order_final": False}),  # its last σ is 0
    ],
)
def test_a_setting_without_effect_is_accepted(
    kind: Any, common: dict[str, Any], setting: dict[str, Any]
) -> None:
    require_same_sampler(kind(**common), kind(**{**common, **setting}))


def test_another_class_of_sampler_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "deradiff"):
        require_same_sampler(
            EulerAncestralDiscreteScheduler(**SCHEDULE),
            EulerDiscreteScheduler(**SCHEDULE, use_karras_sigmas=True),
        )
    assert "the aligned pipeline's EulerDiscreteScheduler is not used" in caplog.text
