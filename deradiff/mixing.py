"""Σ weights · values, for the model outputs, guided predictions and samples of several models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

from torch import Tensor

from deradiff.gaussian import Lam


class InexactMixtureError(ValueError):
    """What was asked for would not be the geometric mixture of the reverse steps."""


def is_zero(weight: Lam) -> bool:
    """Return whether this is the number 0, so that its model need not run."""
    return not isinstance(weight, Tensor) and weight == 0


def is_one(weight: Lam) -> bool:
    """Return whether this is the number 1, so that its model alone counts."""
    return not isinstance(weight, Tensor) and weight == 1


def mix(weights: Sequence[Lam], values: Sequence[Tensor]) -> Tensor:
    """Return Σ weights · values in the values' dtype, summed in float32.

    Args:
        weights: One per value: a number, or a tensor of shape (B,), one weight per image.
        values: Tensors of equal shape (n·B, ...): guidance may have repeated the batch n times.

    Raises:
        ValueError: If a batch is not a multiple of B.
    """
    # In float16 rounding would hide the small differences between two values of λ.
    terms = (_per_image(w, x) * x.float() for w, x in zip(weights, values, strict=True))
    return reduce(add, terms).to(values[0].dtype)


def mix_outputs(weights: Sequence[Lam], outputs: Sequence[Any]) -> Any:
    """Return Σ weights · outputs in the form in which denoisers return them.

    Args:
        weights: One per output, as `mix` takes them.
        outputs: A tuple or dataclass each, whose first item is the prediction: a tensor, or a list
            of tensors, one per image.
    """
    predictions = [prediction_of(output) for output in outputs]
    mixed: Any
    if isinstance(predictions[0], Tensor):
        mixed = mix(weights, predictions)
    else:
        mixed = [
            mix([_of_image(w, i, len(predictions[0])) for w in weights], images)
            for i, images in enumerate(zip(*predictions, strict=True))
        ]
    return with_prediction(_rest_mixed(weights, outputs), mixed)


def mix_fields(weights: Sequence[Lam], outputs: Sequence[Any]) -> Any:
    """Return Σ weights · outputs, of every tensor in what a scheduler's step returns."""
    mixed = mix(weights, [prediction_of(output) for output in outputs])
    return with_prediction(_rest_mixed(weights, outputs), mixed)


def _rest_mixed(weights: Sequence[Lam], outputs: Sequence[Any]) -> Any:
    """Return the first output with every tensor but its first mixed, such as sound to a video."""
    first = outputs[0]
    if isinstance(first, tuple | list):
        return type(first)(
            [
                mix(weights, values) if i and isinstance(values[0], Tensor) else values[0]
                for i, values in enumerate(zip(*outputs, strict=True))
            ]
        )
    if isinstance(first, Tensor) or not dataclasses.is_dataclass(first):
        return first
    names = [field.name for field in dataclasses.fields(first)][1:]
    tensors = [name for name in names if isinstance(getattr(first, name), Tensor)]
    return dataclasses.replace(  # type: ignore[type-var]
        first, **{name: mix(weights, [getattr(o, name) for o in outputs]) for name in tensors}
    )


def map_tensors(change: Callable[[Tensor], Tensor], output: Any) -> Any:
    """Return a denoiser's output with every tensor changed, such as those of image and sound."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple | list):
        return type(output)([map_tensors(change, each) for each in output])
    if not dataclasses.is_dataclass(output):
        return output
    values = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return dataclasses.replace(  # type: ignore[type-var]
        output, **{name: map_tensors(change, value) for name, value in values.items()}
    )


def prediction_of(output: Any) -> Any:
    """Return the prediction in a denoiser's output: a tensor, or a list of one per image."""
    return output if isinstance(output, Tensor) else output[0]


def with_prediction(output: Any, prediction: Any) -> Any:
    """Return a denoiser's output with another prediction in it."""
    if isinstance(output, Tensor):
        return prediction
    if isinstance(output, tuple | list):
        return type(output)([prediction, *output[1:]])
    return dataclasses.replace(output, **{dataclasses.fields(output)[0].name: prediction})


def require_weight_per_image(weights: Sequence[Lam], sample: Tensor) -> None:
    """Raise ValueError if there are weights per image, but not one for each image of the sample.

    The denoiser does not see it: guidance may have repeated the images.
    """
    for weight in weights:
        if isinstance(weight, Tensor) and weight.ndim and len(weight) != len(sample):
            raise ValueError(
                f"lam has {len(weight)} weights for {len(sample)} images: give one per image"
            )


def _per_image(weight: Lam, values: Tensor) -> Lam:
    """Shape one weight per image for a batch that guidance may have repeated."""
    if not isinstance(weight, Tensor) or weight.ndim == 0:
        return weight
    repeated = _repeated(weight, len(values))
    return repeated.to(values.device).reshape(-1, *[1] * (values.ndim - 1))


def _of_image(weight: Lam, index: int, images: int) -> Lam:
    """Return the weight of one image of a list."""
    if not isinstance(weight, Tensor) or weight.ndim == 0:
        return weight
    return _repeated(weight, images)[index].reshape(())


def _repeated(weight: Tensor, length: int) -> Tensor:
    copies, rest = divmod(length, len(weight))
    if rest:
        raise ValueError(
            f"lam has {len(weight)} weights for a batch of {length}: give one per image"
        )
    return weight.repeat(copies)
