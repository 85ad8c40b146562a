"""What a pipeline's own call does around its denoiser, measured in a call without the denoiser.

Pipelines pack latents, encode prompts, rescale timesteps and flip signs each in their own way. A
copy of the pipeline with a stand-in for the denoiser is called once to measure these conventions,
and once per micro-batch, up to the denoiser, for what conditions it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from diffusers import DiffusionPipeline
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor

from deradiff.call_copies import lane_pipe
from deradiff.denoisers import timestep_place, uncompiled

_STEPS = 3  # an affine map has two coefficients, and one value is left to check it

Arguments = dict[str, Any]


class UntrainablePipelineError(TypeError):
    """The pipeline's call has conventions that Diffusion-DPO here does not know."""


class Convention(NamedTuple):
    """How a denoiser is called.

    Attributes:
        intercept: a of its timestep a + bσ.
        slope: b of its timestep a + bσ.
        sign: 1 where it predicts the velocity ε − x₀, −1 where it predicts x₀ − ε.
    """

    intercept: float
    slope: float
    sign: float


class PipelineCall:
    """A copy of a pipeline, called for what reaches its denoiser.

    Args:
        pipe: The pipeline, which is not changed.
        name: Name of its denoiser.
        guidance_scale: The call's `guidance_scale`.
    """

    def __init__(self, pipe: DiffusionPipeline, name: str, *, guidance_scale: float) -> None:
        self._pipe, self._name, self._guidance_scale = pipe, name, guidance_scale
        forward = type(uncompiled(getattr(pipe, name))).forward
        self._signature = inspect.signature(forward)
        self._sample = list(self._signature.parameters)[1]
        self._timestep, _ = timestep_place(getattr(pipe, name))

    def packed(self, latents: Tensor) -> Tensor:
        """Return latents (B, C, H, W) as the denoiser takes them."""
        pack = getattr(self._pipe, "_pack_latents", None)
        packed: Tensor = latents if pack is None else pack(latents.contiguous(), *latents.shape)
        return packed

    def condition(self, prompts: Sequence[str], latents: Tensor) -> Arguments:
        """Return the denoiser's keyword arguments but for sample and timestep.

        Args:
            prompts: B texts.
            latents: Latents of the images, (B, C, H, W), whose values do not matter.
        """

        def reached(arguments: Arguments) -> NoReturn:
            raise _Reached(arguments)

        arguments: Arguments = self._run(prompts, latents, denoise=reached)
        return {n: v for n, v in arguments.items() if n not in (self._sample, self._timestep)}

    def convention(self, prompt: str, encoded: Tensor, latents: Tensor) -> Convention:
        """Measure how the denoiser is called.

        Args:
            prompt: Any prompt.
            encoded: One encoded image as the VAE returns it, (1, C, H, W).
            latents: The same, shifted and scaled.

        Raises:
            UntrainablePipelineError: If the call does not fit; the message says how.
        """
        packed = self.packed(latents)
        # The scheduler's step is left out, so the latents that are decoded are those given.
        output = torch.randn(packed.shape, generator=torch.Generator().manual_seed(0)).to(packed)
        times, sigmas, signs = [], [], []

        def denoise(arguments: Arguments) -> Tensor:
            _require_same(arguments[self._sample], packed, "does not give its denoiser the latents")
            times.append(float(arguments[self._timestep].flatten()[0]))
            return output

        def step(model_output: Any, timestep: Any) -> None:
            signs.append(_sign(model_output, output))
            sigmas.append(float(timestep) / self._pipe.scheduler.config.num_train_timesteps)

        decoded = self._run([prompt], latents, denoise=denoise, step=step)
        _require_same(decoded, encoded, "decodes other latents than its VAE encodes")
        intercept, slope = _affine(sigmas, times)
        if len(set(signs)) > 1:
            raise UntrainablePipelineError("treats its denoiser's outputs differently by step")
        return Convention(intercept, slope, signs[0])

    def _run(
        self,
        prompts: Sequence[str],
        latents: Tensor,
        *,
        denoise: Callable[[Arguments], Any],
        step: Callable[[Any, Any], None] = lambda model_output, timestep: None,
    ) -> Any:
        """Call the copy and return what first raises `_Reached`: by default the decoded latents."""
        lane = self._copy(denoise, step)
        height, width = (side * self._pipe.vae_scale_factor for side in latents.shape[2:])
        try:
            lane(
                prompt=list(prompts),
                height=height,
                width=width,
                num_inference_steps=_STEPS,
                guidance_scale=self._guidance_scale,
                latents=self.packed(latents),
            )
        except _Reached as reached:
            return reached.value
        raise UntrainablePipelineError("decodes nothing with its VAE")

    def _copy(
        self, denoise: Callable[[Arguments], Any], step: Callable[[Any, Any], None]
    ) -> DiffusionPipeline:
        def forward(*args: Any, **kwargs: Any) -> Any:
            arguments = dict(self._signature.bind(None, *args, **kwargs).arguments)
            self_name = next(iter(arguments))
            plain = {n: v for n, v in arguments.items() if n not in (self_name, "return_dict")}
            output = denoise(plain)
            return (output,) if kwargs.get("return_dict") is False else _output(output)

        def taken(model_output: Any, timestep: Any, sample: Any, *_: Any, **__: Any) -> Any:
            step(model_output, timestep)
            return _output(sample)

        def decode(latents: Tensor, *_: Any, **__: Any) -> NoReturn:
            raise _Reached(latents)

        denoiser, vae = copy.copy(getattr(self._pipe, self._name)), copy.copy(self._pipe.vae)
        vars(denoiser)["forward"], vars(vae)["decode"] = forward, decode
        lane = lane_pipe(self._pipe, {self._name: denoiser, "vae": vae})
        vars(lane.scheduler)["step"] = taken
        lane.set_progress_bar_config(disable=True)
        return lane


class _Reached(Exception):  # noqa: N818 - it ends a call, and is no error
    def __init__(self, value: Any) -> None:
        self.value = value


def _output(sample: Any) -> Any:
    """Return an output that has the sample as its first item, under both names in use."""
    output = Transformer2DModelOutput(sample=sample)
    object.__setattr__(output, "prev_sample", sample)
    return output


def _require_same(found: Any, expected: Tensor, problem: str) -> None:
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        raise UntrainablePipelineError(problem)
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * float(expected.float().std())
    if float((found.float() - expected.float()).abs().max()) > tolerance:
        raise UntrainablePipelineError(problem)


def _sign(model_output: Any, output: Tensor) -> float:
    sign = -1.0 if bool((model_output.float() * output.float()).sum() < 0) else 1.0
    _require_same(model_output, sign * output, "gives its scheduler more than an output's sign")
    return sign


def _affine(sigmas: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """Return (a, b) with times = a + b · sigmas."""
    if len(sigmas) != len(times):
        raise UntrainablePipelineError("calls its denoiser more or less than once per step")
    slope = (times[-1] - times[0]) / (sigmas[-1] - sigmas[0])
    intercept = times[0] - slope * sigmas[0]
    scale = max(abs(time) for time in times)
    if any(
        abs(intercept + slope * sigma - time) > 1e-4 * scale
        for sigma, time in zip(sigmas, times, strict=True)
    ):
        raise UntrainablePipelineError("gives its denoiser timesteps that are not affine in σ")
    return intercept, slope
