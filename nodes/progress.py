"""From the core's steps to ComfyUI: progress bars, streaming text, live previews, and cancelling."""

import math
import time
from collections.abc import Callable

import comfy.latent_formats
import comfy.utils
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..janus_core import JanusPipeline

# Of the pack's own front end: core's progress text stands in a field that goes when the node ends.
TEXT_EVENT = "janus.text"
TEXT_INTERVAL = 0.1  # seconds between texts: faster than anyone reads, slower than a socket clogs
PREVIEW_SHARE = 0.03  # of a run's time that previews may take
PREVIEW_SIZE = 512  # pixels
GROUND = (127, 127, 127)  # where nothing is drawn yet


def report_count() -> Callable[[int, int], None]:
    """Shows how much is done of what is counted: bytes of a file, or images."""
    bar = comfy.utils.ProgressBar(1)

    def on_progress(done: int, total: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return on_progress


class TextReport:
    """Shows steps done, and on the running node the answers so far; an `OnStep` of the core."""

    def __init__(self, pipeline: JanusPipeline, node_id: str) -> None:
        self.pipeline = pipeline
        self.node_id = node_id
        self.bar = comfy.utils.ProgressBar(1)
        self.next_text = 0.0

    def __call__(self, step: int, total: int, tokens: Tensor) -> None:
        """Reports one step; raises if the run was cancelled."""
        throw_exception_if_processing_interrupted()
        self.bar.update_absolute(step, total)
        if time.monotonic() >= self.next_text:
            self._show(tokens)
            self.next_text = time.monotonic() + TEXT_INTERVAL

    def check(self, done: int, total: int) -> None:
        """Raises if the run was cancelled; an `OnImage` of the core."""
        throw_exception_if_processing_interrupted()

    def _show(self, tokens: Tensor) -> None:
        server = PromptServer.instance
        if server.client_id is None:  # a script's run: nobody's canvas shows it
            return
        message = {
            "node": self.node_id,
            "text": "\n\n".join(map(str.strip, self.pipeline.decode_text(tokens))),
        }
        server.send_sync(TEXT_EVENT, message, server.client_id)


class ImageReport:
    """Shows steps done, and now and then the half-drawn first image; an `OnStep` of the core."""

    def __init__(self, pipeline: JanusPipeline) -> None:
        self.pipeline = pipeline
        self.bar = comfy.utils.ProgressBar(1)
        self.next_preview = 0.0

    def __call__(self, step: int, total: int, tokens: Tensor) -> None:
        """Reports one step; raises if the run was cancelled."""
        throw_exception_if_processing_interrupted()
        finished = tokens[
            :1, : tokens.shape[1] // self.pipeline.tokens_per_row * self.pipeline.tokens_per_row
        ]
        started = time.monotonic()
        if finished.shape[1] == 0 or started < self.next_preview:
            self.bar.update_absolute(step, total)
            return
        self.bar.update_absolute(step, total, _preview(self.pipeline.preview_tokens(finished)[0]))
        self.next_preview = started + (time.monotonic() - started) / PREVIEW_SHARE

    def check(self, done: int, total: int) -> None:
        """Raises if the run was cancelled; an `OnImage` of the core."""
        throw_exception_if_processing_interrupted()

    def show(self, images: Tensor) -> None:
        """Puts the finished images [B, H, W, 3] on the node, side by side.

        Front ends show a node's last preview in place of its output, as long as they hold one; where
        `web/janus_text.js` can, it has them let go of it.
        """
        columns = math.ceil(math.sqrt(len(images)))
        _, height, width, _ = images.shape
        scale = min(1.0, PREVIEW_SIZE / columns / max(height, width))
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * height), GROUND)
        for index, image in enumerate(images):
            picture = _picture(image).resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(picture, (index % columns * width, index // columns * height))
        self.bar.update_absolute(self.bar.total, self.bar.total, ("JPEG", sheet, PREVIEW_SIZE))


class LatentReport:
    """Shows steps done, and the first image's latents as colours; an `OnStep` of the core."""

    def __init__(self) -> None:
        self.bar = comfy.utils.ProgressBar(1)
        self.format = comfy.latent_formats.SDXL()

    def __call__(self, step: int, total: int, latents: Tensor) -> None:
        """Reports one step; raises if the run was cancelled."""
        throw_exception_if_processing_interrupted()
        factors = torch.tensor(self.format.latent_rgb_factors)
        bias = torch.tensor(self.format.latent_rgb_factors_bias)
        colours = latents[0].float().cpu().permute(1, 2, 0) @ factors + bias
        self.bar.update_absolute(step, total, _preview((colours + 1) / 2))


def _preview(rows: Tensor) -> tuple[str, Image.Image, int]:
    """The upper rows [h, W, 3] of a square image, on grey ground."""
    picture = _picture(rows)
    canvas = Image.new("RGB", (picture.width, picture.width), GROUND)
    canvas.paste(picture)
    return ("JPEG", canvas, PREVIEW_SIZE)


def _picture(image: Tensor) -> Image.Image:
    """An image [H, W, 3], which may be brighter than white where it is the user's own."""
    return Image.fromarray((image.clamp(0, 1) * 255).byte().cpu().numpy())
