"""What users bring to the example workflows: a folder of pictures, a photograph, and models of others."""

from __future__ import annotations

from pathlib import Path

import skimage.data
from PIL import Image, ImageDraw

from .server import ComfyServer

DATASET = "my_dataset"
# The image that workflows which cannot be run here name; ComfyUI brings one of that name.
PHOTOGRAPH = "example.png"
MODELS = (
    "vae/sdxl_vae.safetensors",
    "checkpoints/sd_xl_base_1.0.safetensors",
    "checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
)

SIDE, SCALE = 96, 4  # pixels; drawn so many times as large, for smooth edges
PICTURES = {  # background, and of each object its shape, colour, and the left upper corner of its 28 pixels
    "first": ("white", [("circle", (220, 40, 40), (2, 34))]),
    "second": ("grey", [("square", (45, 85, 225), (34, 2)), ("circle", (250, 225, 50), (66, 66))]),
    "third": ("black", [("triangle", (40, 170, 70), (34, 34))]),
}
GROUNDS = {"white": (250, 250, 250), "grey": (128, 128, 128), "black": (10, 10, 10)}


def add_dataset(server: ComfyServer) -> Path:
    """Puts three pictures, such as the demonstration knows, into a folder of the server's input."""
    folder = server.base / "input" / DATASET
    folder.mkdir(parents=True, exist_ok=True)
    for name, (ground, things) in PICTURES.items():
        picture = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE), GROUNDS[ground])
        pen = ImageDraw.Draw(picture)
        for shape, colour, (left, top) in things:
            middle = (left + 14) * SCALE, (top + 14) * SCALE
            if shape == "circle":
                pen.circle(middle, 14 * SCALE, colour)
            else:
                sides, radius = (4, 20) if shape == "square" else (3, 16)
                pen.regular_polygon((*middle, radius * SCALE), sides, fill=colour)
        picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(folder / f"{name}.png")
    return folder


def add_models(server: ComfyServer) -> None:
    """Puts a photograph in place, and empty files of the models' names that some workflows choose."""
    Image.fromarray(skimage.data.astronaut()).save(server.base / "input" / PHOTOGRAPH)
    for file in MODELS:
        path = server.base / "models" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
