"""Pixels as diffusers returns them are taken; whatever else a pipeline returns is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamsearch.errors import EvaluationError
from lamsearch.evaluation.pixels import frames_of, is_usable

NOISE = np.random.default_rng(0).random((2, 6, 5, 3), dtype=np.float32)


def test_an_image_is_a_video_of_one_frame() -> None:
    assert frames_of(SimpleNamespace(images=NOISE), 2).shape == (2, 1, 6, 5, 3)
    video = np.stack([NOISE, NOISE], axis=1)
    np.testing.assert_array_equal(frames_of(SimpleNamespace(frames=video), 2), video)


def test_what_is_not_finite_passes_and_is_not_usable() -> None:
    broken = NOISE.copy()
    broken[0, 0, 0, 0], broken[1] = np.nan, np.inf
    for row in frames_of(SimpleNamespace(images=broken), 2):
        assert not is_usable(row[0])
    for level in (0.0, 0.5, 1.0):
        assert not is_usable(np.full((6, 5, 3), level))
    assert is_usable(NOISE[0])


@pytest.mark.parametrize(
    ("result", "given"),
    [
        (SimpleNamespace(images=NOISE[:1]), r"shape \(1, 1, 6, 5, 3\) of float32"),
        (SimpleNamespace(images=NOISE[0]), r"shape \(6, 5, 3\) of float32"),
        (SimpleNamespace(images=(255 * NOISE).astype(np.uint8)), r"shape .* of uint8"),
        (SimpleNamespace(images=[Image.new("RGB", (5, 6))] * 2), r"shape .* of uint8"),
        (SimpleNamespace(images=[NOISE[0], NOISE[1, :3]]), "a list of unequal images"),
        (SimpleNamespace(images=255 * NOISE), r"pixels from .* to 254\."),
        (SimpleNamespace(images=2 * NOISE - 1), r"pixels from -0\.9"),
        (SimpleNamespace(), r"shape \(\) of object"),
        ((NOISE,), r"shape \(\) of object"),
    ],
)
def test_what_is_no_pixels_is_refused(result: Any, given: str) -> None:
    message = rf"the pipeline returned {given}.* for 2 prompts, expected \(2, height, width"
    with pytest.raises(EvaluationError, match=message):
        frames_of(result, 2)
