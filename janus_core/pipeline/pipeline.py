"""`JanusPipeline`: the public interface of a loaded model."""

from __future__ import annotations

from dataclasses import dataclass

from .thinking_tasks import ThinkingTasks


@dataclass
class JanusPipeline(ThinkingTasks):
    """A model with its processors, and everything that it can do.

    Methods take callbacks. `on_step(step, total, state)` is called after every step with the tokens or
    latents so far; `on_image(done, total)` after every image that was encoded, judged or decoded. Both may
    raise to cancel: the exception passes through unchanged.

    Inputs that do not fit raise a ValueError that names the input, its value and the fix.

    `Runtime` describes the attributes.
    """
