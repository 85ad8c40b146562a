"""Pictures → a strip: a column per λ, a row per prompt, the same seed along a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_FONT_SIZE, _LINE = 11, 18
_LEAST_WIDTH = 96
"""Smaller pictures are enlarged by a whole number to about this width, so that labels fit."""

_GAP = 2
_MISSING = "missing"


@dataclass(frozen=True)
class Column:
    """The pictures of one λ.

    Attributes:
        label: What stands above them, one or more lines.
        pictures: From top to bottom; None for a missing one.
    """

    label: str
    pictures: Sequence[Image.Image | None]


def draw_strip(columns: Sequence[Column], captions: Sequence[str] = ()) -> Image.Image:
    """Return the strip.

    Args:
        columns: One per λ, all with as many pictures, one of them at least not missing.
        captions: One line above each row, cut to its width; none by default.
    """
    sizes = [p.size for column in columns for p in column.pictures if p is not None]
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    scale = max(1, round(_LEAST_WIDTH / width))
    width, height = scale * width, scale * height
    rows = len(columns[0].pictures)
    above = _LINE if captions else 0
    top = _LINE * max(column.label.count("\n") + 1 for column in columns)
    total = (len(columns) * (width + _GAP) - _GAP, top + rows * (height + above + _GAP) - _GAP)
    strip = Image.new("RGB", total, "white")
    pen, font = ImageDraw.Draw(strip), _font()
    for number, column in enumerate(columns):
        x = number * (width + _GAP)
        for line, text in enumerate(column.label.split("\n")):
            place = (x + 3, 2 + line * _LINE)
            pen.text(place, _cut(text, width - 6, font), fill="black", font=font)
        for row, picture in enumerate(column.pictures):
            y = top + row * (height + above + _GAP) + above
            if picture is None:
                pen.text((x + 3, y + 3), _MISSING, fill="gray", font=font)
            else:
                resized = picture.resize((width, height), Image.Resampling.NEAREST)
                strip.paste(resized if scale > 1 else picture, (x, y))
    for row, caption in enumerate(captions):
        text = _cut(" ".join(caption.split()), total[0] - 6, font)
        y = top + row * (height + above + _GAP) + 2
        pen.text((3, y), text, fill="dimgray", font=font)
    return strip


def _font() -> ImageFont.FreeTypeFont:
    """Return a font that has a λ, which Pillow's own lacks."""
    from matplotlib.font_manager import findfont

    return ImageFont.truetype(findfont("DejaVu Sans"), _FONT_SIZE)


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Return as much of a text as fits into a width in pixels."""
    if len(text) <= width and font.getlength(text) <= width:
        return text
    text = text[:width]  # no letter is narrower than a pixel
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
