"""Draws `icon.png` and `banner.jpg`: `.venv/bin/python -m dev.registry.draw`.

The registry shows them from the addresses in `pyproject.toml`; they are not part of the published archive.
The pictures on the banner are drawn by the demonstration model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

REPO_ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent

ICON, BANNER = 400, (1680, 720)  # the registry's largest icon, and 21:9
OVERSIZE = 4  # drawn this much larger, so that edges are smooth
GROUND, WARM, COLD, LIGHT = (32, 32, 36), (242, 140, 40), (64, 132, 230), (240, 240, 240)

# The right face of Janus, in thousandths of the icon's side, from the top of the head to the neck.
UNIT = 1000
FACE = (
    *((500, 150), (570, 160), (640, 190), (695, 240), (725, 300), (735, 360), (730, 400)),
    *((735, 440), (775, 530), (780, 555), (765, 570), (735, 578), (735, 600), (752, 622)),
    *((750, 638), (735, 648), (748, 665), (742, 685), (722, 698), (720, 720), (725, 750)),
    *((715, 785), (680, 810), (630, 815), (610, 830), (610, 900), (500, 900)),
)
EYE = ((640, 415), 22)

PROMPTS = (
    "A red star and a blue circle on a white background.",
    "Three green triangles on a white background.",
    "A yellow ring on a black background.",
    "An orange star and a green cross on a white background.",
    "A purple square and a red circle on a grey background.",
    "A pink triangle and a cyan circle on a black background.",
)
COLUMNS, SIDE, GAP = 3, 264, 24
TITLE, SUBTITLES = "Janus for ComfyUI", ("Understand, caption, draw and edit", "images with one model")


def icon(side: int) -> Image.Image:
    """Draws the two faces of Janus on a rounded ground, [side, side] pixels with transparent corners."""
    large = side * OVERSIZE
    image = Image.new("RGBA", (large, large))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, large - 1, large - 1), large // 6, GROUND)
    for mirrored, colour in ((False, COLD), (True, WARM)):
        scale = large / UNIT
        pen.polygon([((UNIT - x if mirrored else x) * scale, y * scale) for x, y in FACE], colour)
        (x, y), radius = EYE
        x = UNIT - x if mirrored else x
        pen.ellipse([edge * scale for edge in (x - radius, y - radius, x + radius, y + radius)], GROUND)
    return image.resize((side, side), Image.Resampling.LANCZOS)


def drawings() -> list[Image.Image]:
    """Has the demonstration model draw the prompts, with its own settings."""
    sys.path.insert(0, str(REPO_ROOT))
    from janus_core import DEMONSTRATION, TokenSampling, load_pipeline

    pipe = load_pipeline(DEMONSTRATION)
    options = TokenSampling(seed=0, guidance_scale=1.5, temperature=0.7, top_p=0.8)
    drawn = [pipe.generate(prompt, options).images for prompt in PROMPTS]
    return [to_image(images[0]) for images in drawn if images is not None]


def to_image(pixels: Tensor) -> Image.Image:
    """Converts [H, W, 3] in [0, 1]."""
    return Image.fromarray((pixels.numpy() * 255).round().astype(np.uint8))


def banner(pictures: list[Image.Image]) -> Image.Image:
    """Sets the name beside the model's pictures."""
    width, height = BANNER
    image = Image.new("RGB", BANNER, GROUND)
    mark = icon(220)
    image.paste(mark, (96, 120), mark)
    pen = ImageDraw.Draw(image)
    pen.text((96, 390), TITLE, LIGHT, ImageFont.load_default(72))
    for row, line in enumerate(SUBTITLES):
        pen.text((96, 490 + 48 * row), line, LIGHT, ImageFont.load_default(36))
    rows = len(pictures) // COLUMNS
    left = width - COLUMNS * (SIDE + GAP) - 48
    top = (height - rows * (SIDE + GAP) + GAP) // 2
    for index, picture in enumerate(pictures):
        row, column = divmod(index, COLUMNS)
        shown = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        image.paste(shown, (left + column * (SIDE + GAP), top + row * (SIDE + GAP)))
    return image


def main() -> None:
    """Writes both files."""
    icon(ICON).save(HERE / "icon.png", optimize=True)
    banner(drawings()).save(HERE / "banner.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
