"""How much memory a run takes beside the weights, so that a host can make room before it starts.

Estimates are generous: they count characters as tokens, and the largest tensors of each kind as alive at
once. At most `ROWS_AT_ONCE` rows or images are at work.
"""

from __future__ import annotations

from .image_inputs import Images, image_places
from .models.cache import KVCache
from .pipeline import ROWS_AT_ONCE, JanusPipeline
from .sampling.guidance import uses_guidance
from .sampling.options import TextSampling, TokenSampling

# Feature maps of the image tokenizer's widest resolution that live at once.
_PIXEL_MAPS = 8


def memory_to_understand(
    pipeline: JanusPipeline, images: Images | None, question: str, options: TextSampling
) -> int:
    """Bytes that `JanusPipeline.understand` takes for these inputs."""
    places = image_places(images)
    rows = min(max([1, *map(len, places)]), ROWS_AT_ONCE)
    length = len(places) * pipeline.prompts.num_image_tokens + len(question) + options.max_new_tokens
    return _body(pipeline, rows, length) + memory_to_see(pipeline, rows)


def memory_to_generate(pipeline: JanusPipeline, prompt: str, options: TokenSampling) -> int:
    """Bytes that `JanusPipeline.generate` takes for these inputs."""
    rows = min(options.batch_size, ROWS_AT_ONCE) * (2 if uses_guidance(options.guidance_scale) else 1)
    length = len(prompt) + pipeline.model.generation.config.num_tokens
    return _body(pipeline, rows, length) + memory_for_pixels(pipeline)


def memory_to_see(pipeline: JanusPipeline, images: int) -> int:
    """Bytes that the understanding encoder takes for some images."""
    vision = pipeline.model.config.understanding.vision
    per_position = 8 * vision.hidden_size + 2 * vision.intermediate_size
    return min(images, ROWS_AT_ONCE) * vision.num_positions * per_position * pipeline.dtype.itemsize


def memory_for_pixels(pipeline: JanusPipeline) -> int:
    """Bytes that the image tokenizer takes, whatever the number of images: it works on one at a time."""
    generation = pipeline.model.generation.config
    return _PIXEL_MAPS * generation.image_size**2 * generation.vq.ch * 4


def _body(pipeline: JanusPipeline, rows: int, length: int) -> int:
    body = pipeline.model.config.body
    # A cache is filled by a prompt and then copied to its full length, so two are alive for a moment.
    caches = 2 * KVCache.num_bytes(body, rows, length, pipeline.dtype)
    per_token = 4 * body.hidden_size + 3 * body.intermediate_size
    return caches + rows * length * per_token * pipeline.dtype.itemsize
