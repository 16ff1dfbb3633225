"""Progress of the core's loops on the canvas: progress bar, streamed text, live previews, cancelling.

All callbacks raise ComfyUI's `InterruptProcessingException` if the run was cancelled.
"""

import math
import sys
import time
from collections.abc import Callable

import comfy.latent_formats
import comfy.utils
import torch
from comfy.cli_args import args
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..janus_core import JanusPipeline
from .previews import previews_wanted

# Our own events, handled by `web/janus_text.js` and `web/janus_passes.js`: ComfyUI either removes its own
# progress text when the node ends, or leaves it on an enlarged node.
TEXT_EVENT, PASSES_EVENT = "janus.text", "janus.passes"
EVENT_INTERVAL = 0.1  # seconds between events
PREVIEW_SHARE = 0.03  # fraction of the run time that previews may take
FINISHED_SIZE = 1024  # pixels of the sheet of finished images, at most
GAP = 4  # pixels between these
BACKGROUND = (127, 127, 127)


def progress_callback() -> Callable[[int, int], None]:
    """A callback `(done, total)` that moves the progress bar, in bytes or images."""
    bar = comfy.utils.ProgressBar(1)

    def on_progress(done: int, total: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return on_progress


class _Report:
    """Base of the `OnStep` callbacks, each with the progress bar of one run."""

    def __init__(self) -> None:
        self.bar = comfy.utils.ProgressBar(1)

    def send(self, event: str, node_id: str, **values: object) -> None:
        """Sends values to the browser that the run was queued from."""
        server = PromptServer.instance
        if server.client_id is None:  # queued by a script: there is no canvas
            return
        run = getattr(server, "last_prompt_id", None)
        server.send_sync(event, {"node": node_id, "prompt_id": run, **values}, server.client_id)

    def check(self, done: int, total: int) -> None:
        """An `OnImage` callback that only lets the user cancel: `OnStep` moves the bar."""
        throw_exception_if_processing_interrupted()


class TextReport(_Report):
    """Streams the answers so far onto the running node."""

    def __init__(self, pipeline: JanusPipeline, node_id: str) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.node_id = node_id
        self.next_text = 0.0

    def __call__(self, step: int, total: int, tokens: Tensor) -> None:
        """Reports a step with the tokens [B, n] so far."""
        throw_exception_if_processing_interrupted()
        self.bar.update_absolute(step, total)
        # The last text stays for as long as the node runs, such as to generate an image.
        if step == total or time.monotonic() >= self.next_text:
            self._send(tokens)
            self.next_text = time.monotonic() + EVENT_INTERVAL

    def _send(self, tokens: Tensor) -> None:
        text = "\n\n".join(map(str.strip, self.pipeline.decode_text(tokens)))
        self.send(TEXT_EVENT, self.node_id, text=text)


class ImageReport(_Report):
    """Shows the first image of the batch from time to time while it is generated, if previews are wanted.

    It also says on the node how many tokens are drawn, and in how many passes of the model.
    """

    def __init__(self, pipeline: JanusPipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.previews = previews_wanted()  # the core reads it too, and reserves no memory for them without
        self.next_preview = self.next_count = 0.0
        self.num_tokens, self.passes = sys.maxsize, 0

    def __call__(self, step: int, total: int, tokens: Tensor) -> None:
        """Reports a step with the image tokens [B, n] so far."""
        throw_exception_if_processing_interrupted()
        # Later steps, such as those of scored images, draw nothing more, and may do without the autoencoder.
        has_drawn = tokens.shape[1] != self.num_tokens
        self._count(tokens.shape[1])
        width = self.pipeline.tokens_per_row
        complete_rows = tokens[:1, : tokens.shape[1] // width * width]
        started = time.monotonic()
        wanted = self.previews and has_drawn and complete_rows.shape[1] > 0
        if not wanted or started < self.next_preview:
            self.bar.update_absolute(step, total)
            return
        rows = self.pipeline.preview(complete_rows)[0]
        # Front ends draw a picture no larger than it is: the preview is not larger than the finished one.
        self.bar.update_absolute(step, total, _preview(rows, min(args.preview_size, rows.shape[1])))
        # A preview that took t seconds is followed by t / PREVIEW_SHARE seconds without one.
        self.next_preview = started + (time.monotonic() - started) / PREVIEW_SHARE

    def _count(self, num_tokens: int) -> None:
        """Counts the passes of a batch: its first step is that of the prompt."""
        if num_tokens != self.num_tokens:
            self.passes = 0 if num_tokens < self.num_tokens else self.passes + 1
            self.num_tokens = num_tokens
        running, is_last = get_executing_context(), num_tokens == self.pipeline.tokens_per_row**2
        if running is not None and (is_last or time.monotonic() >= self.next_count):
            self.send(PASSES_EVENT, running.node_id, tokens=num_tokens, passes=self.passes)
            self.next_count = time.monotonic() + EVENT_INTERVAL

    def show(self, images: Tensor) -> None:
        """Shows the finished images [B, H, W, 3] side by side as the last preview.

        It stays on a subgraph's node and in the queue. On this node, `web/janus_previews.js` replaces it by
        the output images.
        """
        if not self.previews:
            return
        columns = math.ceil(math.sqrt(len(images)))
        _, height, width, _ = images.shape
        scale = min(1.0, FINISHED_SIZE / columns / max(height, width))
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        size = columns * (width + GAP) - GAP, math.ceil(len(images) / columns) * (height + GAP) - GAP
        sheet = Image.new("RGB", size, BACKGROUND)
        for index, image in enumerate(images):
            picture = _to_pil(image).resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(picture, (index % columns * (width + GAP), index // columns * (height + GAP)))
        self.bar.update_absolute(self.bar.total, self.bar.total, ("JPEG", sheet, max(size)))


class LatentReport(_Report):
    """Shows the first image, from its latents, if previews are wanted.

    SDXL's latents are shown as ComfyUI does, by an approximation at each step; others are decoded, from time
    to time and at the last step.
    """

    def __init__(self, pipeline: JanusPipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.previews = previews_wanted()
        self.next_preview = 0.0
        self.is_sdxl = pipeline.model.flow_generation.config.has_sdxl_latents
        self.format = comfy.latent_formats.SDXL()

    def __call__(self, step: int, total: int, latents: Tensor) -> None:
        """Reports a step with the latents [B, 4, h, w] so far."""
        throw_exception_if_processing_interrupted()
        is_due = self.is_sdxl or step == total or time.monotonic() >= self.next_preview
        if not (self.previews and is_due):
            self.bar.update_absolute(step, total)
            return
        first = latents[0].float().cpu()  # waits for the device, whose step is not the preview's time
        started = time.monotonic()
        if self.is_sdxl:
            picture, size = self._approximation(first), args.preview_size
        else:
            (picture,) = self.pipeline.preview(first[None])
            size = min(args.preview_size, picture.shape[1])
        self.bar.update_absolute(step, total, _preview(picture, size))
        # A preview that took t seconds is followed by t / PREVIEW_SHARE seconds without one.
        self.next_preview = started + (time.monotonic() - started) / PREVIEW_SHARE

    def _approximation(self, latents: Tensor) -> Tensor:
        """A small image [h, w, 3] of SDXL's latents [4, h, w]."""
        factors = torch.tensor(self.format.latent_rgb_factors)
        bias = torch.tensor(self.format.latent_rgb_factors_bias)
        return (latents.permute(1, 2, 0) @ factors + bias + 1) / 2


def _preview(top: Tensor, size: int) -> tuple[str, Image.Image, int]:
    """A preview, of that many pixels, of the top part [h, W, 3] of a square image, with the rest grey."""
    picture = _to_pil(top)
    canvas = Image.new("RGB", (picture.width, picture.width), BACKGROUND)
    canvas.paste(picture)
    return ("JPEG", canvas, size)


def _to_pil(image: Tensor) -> Image.Image:
    """Converts an image [H, W, 3]; values outside [0, 1], which a user's own image may have, are clipped."""
    return Image.fromarray((image.clamp(0, 1) * 255).byte().cpu().numpy())
