"""Reverse-step posteriors p(x_{t−1} | x_t) of diffusers schedulers.

| symbol  | code                      | meaning                                                   |
|---------|---------------------------|-----------------------------------------------------------|
| x_t     | `sample`                  | the noisy sample, in the scheduler's own scaling, (B, ...)|
| x̂_0     | `original`                | the clean sample that the model output predicts           |
| ᾱ_t     | `alpha_prod`              | the schedule's `alphas_cumprod`                           |
| β_t     | `noise_rate`              | 1 − ᾱ_t/ᾱ_{t−1} for the steps actually taken              |
| σ_t     | `sigma`                   | Euler's noise level sqrt((1 − ᾱ_t)/ᾱ_t)                   |
| η       | `eta`                     | DDIM's share of noise, 0 = deterministic                  |

`Gaussian.mean + sqrt(Gaussian.variance) · z` equals what the scheduler's own `step` returns for the
same noise z. The functions read the scheduler and never change it.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerAncestralDiscreteScheduler, SchedulerMixin
from torch import Tensor

from deradiff.gaussian import Gaussian

LEARNED_VARIANCES = ("learned", "learned_range")


@singledispatch
def reverse_step(
    scheduler: SchedulerMixin,
    model_output: Tensor,
    timestep: Tensor | float,
    sample: Tensor,
    **kwargs: Any,
) -> Gaussian:
    """Return the reverse-step posterior that one call of `scheduler.step` samples from.

    Supports `DDPMScheduler` with every `variance_type` (arXiv 2006.11239, Eq. 6–7), `DDIMScheduler`
    with any `eta` (arXiv 2010.02502, Eq. 12, 16) and `use_clipped_model_output`, and
    `EulerAncestralDiscreteScheduler`; each with all of its prediction types, clipping and
    thresholding.

    Args:
        scheduler: A scheduler whose `set_timesteps` has been called.
        model_output: Guided model output, (B, C, ...), or (B, 2C, ...) if the variance is learned.
        timestep: One of `scheduler.timesteps`.
        sample: Noisy sample x_t, (B, C, ...), not yet scaled for the model.
        **kwargs: `eta` and `use_clipped_model_output` for DDIM.

    Returns:
        A Gaussian with a mean of shape (B, C, ...), and a variance that is 0-d unless it is
        learned.

    Raises:
        TypeError: If the scheduler is of another class.
        ValueError: If `timestep` is not in the schedule, `prediction_type` is unknown, or a learned
            variance is missing from the model output.
    """
    raise TypeError(
        f"{type(scheduler).__name__} has no known reverse-step posterior: use DDPMScheduler, "
        "DDIMScheduler or EulerAncestralDiscreteScheduler"
    )


@reverse_step.register
def _(
    scheduler: DDPMScheduler, model_output: Tensor, timestep: Tensor | float, sample: Tensor
) -> Gaussian:
    t = int(timestep)
    t_prev = int(scheduler.previous_timestep(t))
    alpha_prod = scheduler.alphas_cumprod[t]
    alpha_prod_prev = scheduler.alphas_cumprod[t_prev] if t_prev >= 0 else scheduler.one
    noise_rate = 1 - alpha_prod / alpha_prod_prev

    learned = None
    channels = sample.shape[1]
    if scheduler.config.variance_type in LEARNED_VARIANCES:
        if model_output.shape[1] != 2 * channels:
            raise ValueError(
                f"variance_type={scheduler.config.variance_type} needs a model output of "
                f"{2 * channels} channels (prediction and variance), got {model_output.shape[1]}"
            )
        model_output, learned = model_output[:, :channels], model_output[:, channels:]
    original = _clean(scheduler, model_output, sample=sample, alpha_prod=alpha_prod)
    mean = (
        alpha_prod_prev.sqrt() * noise_rate / (1 - alpha_prod) * original
        + (1 - noise_rate).sqrt() * (1 - alpha_prod_prev) / (1 - alpha_prod) * sample
    )
    if t == 0:
        return Gaussian(mean, mean.new_zeros(()))
    posterior_rate = (1 - alpha_prod_prev) / (1 - alpha_prod) * noise_rate
    variance = _ddpm_variance(scheduler, posterior_rate, noise_rate=noise_rate, learned=learned)
    return Gaussian(mean, variance.to(mean))


@reverse_step.register
def _(
    scheduler: DDIMScheduler,
    model_output: Tensor,
    timestep: Tensor | float,
    sample: Tensor,
    *,
    eta: float = 0.0,
    use_clipped_model_output: bool = False,
) -> Gaussian:
    t = int(timestep)
    t_prev = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alpha_prod = scheduler.alphas_cumprod[t]
    alpha_prod_prev = (
        scheduler.alphas_cumprod[t_prev] if t_prev >= 0 else scheduler.final_alpha_cumprod
    )
    original = _clean(scheduler, model_output, sample=sample, alpha_prod=alpha_prod)
    noise = _noise(scheduler, model_output, sample=sample, alpha_prod=alpha_prod)
    if use_clipped_model_output:
        noise = (sample - alpha_prod.sqrt() * original) / (1 - alpha_prod).sqrt()

    posterior_rate = (1 - alpha_prod_prev) / (1 - alpha_prod) * (1 - alpha_prod / alpha_prod_prev)
    variance = eta**2 * posterior_rate
    mean = alpha_prod_prev.sqrt() * original + (1 - alpha_prod_prev - variance).sqrt() * noise
    return Gaussian(mean, variance.to(mean))


@reverse_step.register
def _(
    scheduler: EulerAncestralDiscreteScheduler,
    model_output: Tensor,
    timestep: Tensor | float,
    sample: Tensor,
) -> Gaussian:
    index = _step_index(scheduler, timestep)
    sigma, sigma_next = scheduler.sigmas[index], scheduler.sigmas[index + 1]
    # The scheduler too computes in float32, whatever the model's dtype.
    sample = sample.to(torch.float32)
    prediction_type = scheduler.config.prediction_type
    if prediction_type == "epsilon":
        original = sample - sigma * model_output
    elif prediction_type == "v_prediction":
        original = model_output * (-sigma / (sigma**2 + 1).sqrt()) + sample / (sigma**2 + 1)
    else:
        raise _unknown_prediction(scheduler, "epsilon or v_prediction")
    variance = sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
    sigma_down = (sigma_next**2 - variance).sqrt()
    mean = sample + (sample - original) / sigma * (sigma_down - sigma)
    return Gaussian(mean, variance.to(mean))


@singledispatch
def scale_model_input(
    scheduler: SchedulerMixin, sample: Tensor, timestep: Tensor | float
) -> Tensor:
    """Return the denoiser's input for `sample` at `timestep`, of the same shape (B, C, ...).

    Unlike the schedulers' own method of this name, it does not start their step counter.
    """
    return sample


@scale_model_input.register
def _(
    scheduler: EulerAncestralDiscreteScheduler, sample: Tensor, timestep: Tensor | float
) -> Tensor:
    sigma: Tensor = scheduler.sigmas[_step_index(scheduler, timestep)]
    return sample / (sigma**2 + 1).sqrt()


def _clean(scheduler: Any, model_output: Tensor, *, sample: Tensor, alpha_prod: Tensor) -> Tensor:
    """Return x̂_0, clipped or thresholded if the scheduler is configured so."""
    config = scheduler.config
    if config.prediction_type == "epsilon":
        original = (sample - (1 - alpha_prod).sqrt() * model_output) / alpha_prod.sqrt()
    elif config.prediction_type == "sample":
        original = model_output
    elif config.prediction_type == "v_prediction":
        original = alpha_prod.sqrt() * sample - (1 - alpha_prod).sqrt() * model_output
    else:
        raise _unknown_prediction(scheduler, "epsilon, sample or v_prediction")
    if config.thresholding:
        return _threshold(
            original, ratio=config.dynamic_thresholding_ratio, maximum=config.sample_max_value
        )
    if config.clip_sample:
        return original.clamp(-config.clip_sample_range, config.clip_sample_range)
    return original


def _noise(scheduler: Any, model_output: Tensor, *, sample: Tensor, alpha_prod: Tensor) -> Tensor:
    """Return the noise that the model output predicts, before any clipping of x̂_0."""
    if scheduler.config.prediction_type == "epsilon":
        return model_output
    if scheduler.config.prediction_type == "sample":
        return (sample - alpha_prod.sqrt() * model_output) / (1 - alpha_prod).sqrt()
    return alpha_prod.sqrt() * model_output + (1 - alpha_prod).sqrt() * sample


def _threshold(original: Tensor, *, ratio: float, maximum: float) -> Tensor:
    """Apply dynamic thresholding (arXiv 2205.11487, section 2.3), one threshold per image."""
    magnitude = original.float().flatten(1).abs()
    limit = torch.quantile(magnitude, ratio, dim=1).clamp(min=1, max=maximum)
    limit = limit.to(original.dtype).reshape(-1, *[1] * (original.ndim - 1))
    return torch.clamp(original, -limit, limit) / limit


def _ddpm_variance(
    scheduler: Any, posterior_rate: Tensor, *, noise_rate: Tensor, learned: Tensor | None
) -> Tensor:
    """Return the variance for `variance_type` (arXiv 2006.11239, 3.2; learned: 2102.09672)."""
    variance_type = scheduler.config.variance_type
    if variance_type == "learned" and learned is not None:
        return learned
    if variance_type == "learned_range" and learned is not None:
        fraction = (learned + 1) / 2
        low = posterior_rate.clamp(min=1e-20).log()
        return torch.exp(fraction * noise_rate.log() + (1 - fraction) * low)
    # The suffix "_log" of a type only says how diffusers computes the same variance.
    return noise_rate if variance_type.startswith("fixed_large") else posterior_rate


def _step_index(scheduler: Any, timestep: Tensor | float) -> int:
    """Return the position of the timestep in the schedule; raise ValueError if it has none."""
    matches = (scheduler.timesteps == float(timestep)).nonzero()
    if len(matches) == 0:
        raise ValueError(f"timestep {float(timestep)} is not one of scheduler.timesteps")
    return int(matches[0])


def _unknown_prediction(scheduler: Any, known: str) -> ValueError:
    return ValueError(
        f"{type(scheduler).__name__} has prediction_type {scheduler.config.prediction_type!r}: "
        f"expected {known}"
    )
