"""Strips of pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lamsearch.report.strip import Column, draw_strip


def picture(red: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, (red, 0, 0))


def reds(strip: Image.Image) -> set[int]:
    """The red levels of pixels that are neither text nor paper."""
    pixels = np.asarray(strip).reshape(-1, 3)
    chosen = pixels[(pixels[:, 1] == 0) & (pixels[:, 2] == 0) & (pixels[:, 0] > 0)]
    return {int(red) for red in chosen[:, 0]}


def test_every_picture_is_there_enlarged_by_a_whole_number() -> None:
    columns = [Column(f"λ {c}\nβ/λ 5", [picture(50 * c + r) for r in (10, 20)]) for c in (1, 2, 3)]
    strip = draw_strip(columns)
    assert reds(strip) == {50 * c + r for c in (1, 2, 3) for r in (10, 20)}
    pixels = np.asarray(strip)[..., 0][np.asarray(strip)[..., 1:].sum(-1) == 0]
    assert np.count_nonzero(pixels == 60) == 96 * 96
    assert strip.width == 3 * 96 + 2 * 2


def test_large_pictures_keep_their_size_and_labels_their_place() -> None:
    big = draw_strip([Column("λ 0", [picture(200, (512, 300))])], ["a prompt"])
    assert big.width == 512
    assert big.height == 300 + 18 + 18
    top = np.asarray(big)[:18]
    assert (top == 0).all(-1).any()  # the label, in black


def test_a_missing_picture_leaves_its_place_and_long_texts_are_cut() -> None:
    columns = [Column("λ" * 500, [None, picture(90)]), Column("λ 1", [picture(80), picture(70)])]
    strip = draw_strip(columns, ["x" * 5000, "two\nlines"])
    assert reds(strip) == {90, 80, 70}
    assert strip.width == 2 * 96 + 2
