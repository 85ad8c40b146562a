from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamsearch.report.html.pictures import PAGE_BYTES, Picture, read_pictures


def noise(file: Path, size: int, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def decoded(picture: Picture | None) -> Image.Image:
    assert picture is not None
    kind, _, text = picture.source.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_small_images_keep_every_pixel(tmp_path: Path) -> None:
    file = noise(tmp_path / "a.png", 32)
    (picture,) = read_pictures({0.5: [file]})[0.5]
    assert np.array_equal(np.asarray(decoded(picture)), np.asarray(Image.open(file)))


@pytest.mark.slow
def test_a_default_gallery_of_large_images_fits_a_page(tmp_path: Path) -> None:
    """Noise compresses worse than any image: 12 λs of eight images of 1,024 pixels."""
    file = noise(tmp_path / "a.png", 1024)
    found = read_pictures({lam / 11: [file] * 8 for lam in range(12)})
    assert len(found) == 12
    total = sum(len(picture.source) for row in found.values() for picture in row if picture)
    assert total <= PAGE_BYTES
    assert (found[0.0][0].width, found[0.0][0].height) == (1024, 1024)  # type: ignore[union-attr]


def test_images_are_no_smaller_than_needed(tmp_path: Path) -> None:
    (picture,) = read_pictures({0.0: [noise(tmp_path / "a.png", 300)]})[0.0]
    assert decoded(picture).size == (300, 300)
    (picture,) = read_pictures({0.0: [noise(tmp_path / "b.png", 1000)]})[0.0]
    assert decoded(picture).size == (768, 768)


def test_damaged_and_absent_files_are_gaps(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(noise(tmp_path / "whole.png", 64).read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image")
    files = [damaged, tmp_path / "text.png", tmp_path / "absent.png", None]
    assert read_pictures({0.0: files})[0.0] == [None] * 4
    assert read_pictures({}) == {}
