"""From the core's steps to ComfyUI: progress bars, streaming text, live previews, and cancelling."""

import time
from collections.abc import Callable

import comfy.utils
from comfy.model_management import throw_exception_if_processing_interrupted
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..janus_core import JanusPipeline

OnStep = Callable[[int, int, Tensor], None]

TEXT_INTERVAL = 0.1  # seconds between texts: faster than anyone reads, slower than a socket clogs
PREVIEW_SHARE = 0.03  # of a run's time that previews may take
PREVIEW_SIZE = 512  # pixels


def report_bytes() -> Callable[[int, int], None]:
    """Shows how much of a file is read."""
    bar = comfy.utils.ProgressBar(1)

    def on_progress(done: int, total: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return on_progress


def report_text(pipeline: JanusPipeline, node_id: str) -> OnStep:
    """Shows steps done, and on the running node the answers so far."""
    bar = comfy.utils.ProgressBar(1)
    shown_at = 0.0

    def on_step(step: int, total: int, tokens: Tensor) -> None:
        nonlocal shown_at
        throw_exception_if_processing_interrupted()
        bar.update_absolute(step, total)
        if time.monotonic() - shown_at >= TEXT_INTERVAL:
            text = "\n\n".join(pipeline.decode_text(tokens))
            PromptServer.instance.send_progress_text(text, node_id, PromptServer.instance.client_id)
            shown_at = time.monotonic()

    return on_step


def report_image(pipeline: JanusPipeline) -> OnStep:
    """Shows steps done, and now and then the half-drawn first image."""
    bar = comfy.utils.ProgressBar(1)
    next_preview = 0.0

    def on_step(step: int, total: int, tokens: Tensor) -> None:
        nonlocal next_preview
        throw_exception_if_processing_interrupted()
        preview = None
        started = time.monotonic()
        if started >= next_preview:
            preview = _half_drawn(pipeline, tokens)
            cost = time.monotonic() - started
            next_preview = started + cost / PREVIEW_SHARE
        bar.update_absolute(step, total, preview)

    return on_step


def _half_drawn(pipeline: JanusPipeline, tokens: Tensor) -> tuple[str, Image.Image, int] | None:
    """The finished rows of the first image on a grey ground; None before the first row is done."""
    width = pipeline.tokens_per_row
    finished = tokens[:1, : tokens.shape[1] // width * width]
    if finished.shape[1] == 0:
        return None
    rows = (pipeline.decode_tokens(finished)[0] * 255).byte().cpu().numpy()
    canvas = Image.new("RGB", (rows.shape[1], rows.shape[1]), (127, 127, 127))
    canvas.paste(Image.fromarray(rows), (0, 0))
    return ("JPEG", canvas, PREVIEW_SIZE)
