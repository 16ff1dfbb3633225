"""Inputs of the example workflows that users provide: image folders, a photograph and other models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import skimage.data
from PIL import Image, ImageDraw

from .server import ComfyServer
from .stand_ins import diffusion_checkpoint, tiny_autoencoder, write_zeros
from .tree import REPO_ROOT

DATASET = "my_dataset"
DRAWINGS = "my_drawings"
PROMPTS = ("a red circle", "a blue square", "a green triangle", "a yellow star")
DEMONSTRATION = REPO_ROOT / "janus_core" / "assets" / "janus-shapes"
# The image that the workflows load; ComfyUI ships one of this name.
PHOTOGRAPH = "example.png"
MODELS = {
    "vae/sdxl_vae.safetensors": tiny_autoencoder,
    "checkpoints/sd_xl_base_1.0.safetensors": diffusion_checkpoint,
    "checkpoints/v1-5-pruned-emaonly-fp16.safetensors": diffusion_checkpoint,
}

# Checkpoint to select instead of the one that a workflow needs, and its folder in `tests/golden`.
CHECKPOINTS = {
    "Janus-4o - edit by instruction": ("Janus-4o-tiny", "janus-pro-tiny"),
    "T2I-R1 - think and draw": ("T2I-R1-tiny", "janus-pro-tiny"),
    "JanusFlow - image to image": ("janusflow-tiny", "janusflow-tiny"),
    "JanusFlow - text to image": ("janusflow-tiny", "janusflow-tiny"),
    "JanusFlow - refine with SDXL": ("janusflow-tiny", "janusflow-tiny"),
    "Stable Diffusion - draw a caption": ("janus-pro-tiny", "janus-pro-tiny"),
}
CHECKPOINT_SIDE = 64  # pixels; the image size of these checkpoints

SIDE, SCALE = 96, 4  # pixels, and the factor of supersampling
PICTURES = {  # background; of each object its shape, colour, and the top left corner of its 28-pixel box
    "first": ("white", [("circle", (220, 40, 40), (2, 34))]),
    "second": ("grey", [("square", (45, 85, 225), (34, 2)), ("circle", (250, 225, 50), (66, 66))]),
    "third": ("black", [("triangle", (40, 170, 70), (34, 34))]),
}
GROUNDS = {"white": (250, 250, 250), "grey": (128, 128, 128), "black": (10, 10, 10)}


def add_dataset(server: ComfyServer) -> Path:
    """Puts three pictures like those of the demonstration model into a folder of the server's input."""
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


def draw_folder(folder: Path) -> None:
    """Draws the prompts into a folder, as users do without the canvas.

    Raises:
        subprocess.CalledProcessError: if the command fails.
    """
    folder.mkdir(parents=True)
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"id": prompt, "prompt": prompt}) for prompt in PROMPTS]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    names = (str(prompts), str(folder), "--format", "png", "--checkpoint", str(DEMONSTRATION))
    command = [sys.executable, "-m", "janus_core.batch", "draw", *names, "--threads", "1"]
    subprocess.run(command, cwd=REPO_ROOT, check=True, stdout=subprocess.DEVNULL)


def add_models(server: ComfyServer, golden: Path) -> None:
    """Adds a photograph, and stand-ins for the models that some workflows need."""
    for name, files in CHECKPOINTS.values():
        server.add_model(golden / files, name=name)
    Image.fromarray(skimage.data.astronaut()).save(server.base / "input" / PHOTOGRAPH)
    for file, shapes in MODELS.items():
        path = server.base / "models" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_zeros(path, shapes())


def choices(name: str, workflow: dict[str, Any]) -> dict[int, dict[str, object]]:
    """Widget values by node id with which a workflow runs on stand-ins: checkpoints, sizes, steps."""
    size: dict[str, object] = {"width": CHECKPOINT_SIDE, "height": CHECKPOINT_SIDE}
    wanted: dict[str, dict[str, object]] = {
        "EmptyLatentImage": size,
        "ImageScale": size,
        "KSampler": {"steps": 2},
    }
    if name in CHECKPOINTS:
        wanted["JanusLoad"] = {"checkpoint": CHECKPOINTS[name][0]}
    return {node["id"]: wanted[node["type"]] for node in workflow["nodes"] if node["type"] in wanted}
