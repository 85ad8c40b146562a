"""Statistics of pictures whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from lamsearch.evaluation.image_statistics import STATISTICS, image_statistics, picture_statistics

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def figures(image: Image.Image) -> dict[str, float]:
    return dict(zip(STATISTICS, picture_statistics(image), strict=True))


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (16, 16), right)
    image.paste(left, (0, 0, 8, 16))
    return image


def test_a_flat_grey_picture_has_none_of_anything() -> None:
    assert picture_statistics(Image.new("RGB", (9, 7), (128, 128, 128))) == [0.0] * 5


def test_chroma_is_zero_for_grey_and_one_for_pure_colours() -> None:
    assert figures(NOISE.convert("L"))["mean chroma"] == 0
    assert figures(Image.new("RGB", (4, 4), (255, 0, 0)))["mean chroma"] == 1
    assert figures(halves((255, 0, 0), (9, 9, 9)))["mean chroma"] == pytest.approx(0.5)
    dull = ImageEnhance.Color(NOISE).enhance(0.5)
    assert figures(dull)["mean chroma"] < figures(NOISE)["mean chroma"]


def test_dark_pixels_are_counted() -> None:
    assert figures(halves((0, 0, 0), (255, 255, 255)))["dark pixels"] == 0.5
    assert figures(halves((25, 25, 25), (26, 26, 26)))["dark pixels"] == 0.5


def test_edges_are_where_brightness_jumps() -> None:
    # Slopes are between pixels, so a picture of 16 columns has 15, and one of them is the jump.
    assert figures(halves((0, 0, 0), (255, 255, 255)))["edge density"] == pytest.approx(1 / 15)
    assert figures(halves((100, 100, 100), (120, 120, 120)))["edge density"] == 0


def test_a_blurred_picture_is_less_sharp() -> None:
    blurred = NOISE.filter(ImageFilter.GaussianBlur(1))
    assert figures(blurred)["sharpness"] < 0.5 * figures(NOISE)["sharpness"]
    ramp = Image.fromarray(np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1)))
    assert figures(ramp)["sharpness"] == pytest.approx(0, abs=1e-6)


def test_entropy_is_the_logarithm_of_the_number_of_equally_frequent_colours() -> None:
    quarters = halves((0, 0, 0), (255, 0, 0))
    quarters.paste((0, 255, 0), (0, 8, 8, 16))
    quarters.paste((0, 0, 255), (8, 8, 16, 16))
    assert figures(quarters)["colour entropy"] == pytest.approx(2)
    # Every channel has eight levels: 30 and 31 are one, 31 and 32 are two.
    assert figures(halves((30, 0, 0), (31, 0, 0)))["colour entropy"] == 0
    assert figures(halves((31, 0, 0), (32, 0, 0)))["colour entropy"] == pytest.approx(1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (5, 1)])
def test_tiny_pictures_have_finite_figures(size: tuple[int, int]) -> None:
    assert np.isfinite(picture_statistics(NOISE.resize(size))).all()


def test_an_image_that_is_missing_has_no_figures_and_moves_no_other() -> None:
    found = image_statistics([NOISE, None, NOISE.convert("L")])
    assert list(found) == list(STATISTICS)
    for name, row in found.items():
        assert row[0] == figures(NOISE)[name]
        assert math.isnan(row[1])
        assert row[2] == figures(NOISE.convert("L"))[name]
