"""Working memory of drawing with thoughts or reviews, as in `pipeline.workspace`."""

from __future__ import annotations

from ...processing.thinking_prompts import image_row, judging_tail, redrawing_tail
from ...prompt_batch import PromptBatch
from ...sampling.guidance import uses_guidance
from ...sampling.text import copied_answer_slots
from ..runtime import Runtime
from ..workspace import (
    SAMPLING_BYTES,
    cache_bytes,
    codec_bytes,
    drawing_bytes,
    pass_bytes,
    states_bytes,
    text_head_bytes,
    vision_bytes,
    with_margin,
)
from .request import ThinkingRequest


def thinking_bytes(runtime: Runtime, request: ThinkingRequest, preview: bool) -> int:
    """Bytes to write texts of the greatest length about images, and to draw and judge them."""
    images = request.options.batch_size
    stages = _thinking if request.form.thinking else _reviewing
    largest = max(stages(runtime, request, min(images, runtime.max_batch_size), preview))
    # While images are decoded, there are the new ones as well.
    decoding = _caches(runtime, request) + codec_bytes(runtime, (5 if request.reviews else 1) * images)
    return max(with_margin(_pictures(runtime, request) + largest), decoding)


def kept_bytes(runtime: Runtime, request: ThinkingRequest) -> int:
    """Bytes that stay allocated from one round to the next, and so while images are judged."""
    return with_margin(_pictures(runtime, request) + _caches(runtime, request))


def _pictures(runtime: Runtime, request: ThinkingRequest) -> int:
    """Images of the first round, of the best, of the last, and as the model saw them."""
    side = runtime.model.generation.config.image_size
    return (4 if request.reviews else 1) * request.options.batch_size * 12 * side**2


def _caches(runtime: Runtime, request: ThinkingRequest) -> int:
    """Keys and values of what every image is drawn after."""
    form, head = request.form.thinking, len(request.head)
    if form is None:
        return cache_bytes(runtime, 1 + uses_guidance(request.options.guidance_scale), head)
    if request.thoughts:
        return 0
    first = cache_bytes(runtime, 1, head)
    continued = form.shared and not form.turn
    return first + continued * cache_bytes(runtime, 1, head + request.thinking.max_new_tokens)


def _thinking(runtime: Runtime, request: ThinkingRequest, images: int, preview: bool) -> list[int]:
    """Bytes of the stages of drawing after thoughts, for some images at once."""
    form, head = request.form.thinking, len(request.head)
    assert form is not None
    conditions = 1 + uses_guidance(request.options.guidance_scale)
    longest = max(map(len, request.thoughts), default=request.thinking.max_new_tokens)
    sources = 1 if form.shared or len(request.thoughts) == 1 else images
    blank_length = len(image_row(request.prompts, form, request.head, request.prompt, []))
    drawing = _drawing_after(runtime, request, blank_length + longest, images, sources, preview)
    if request.thoughts:
        return [drawing]
    first = cache_bytes(runtime, 1, head)
    texts = first + cache_bytes(runtime, sources, head + longest)
    stages = [
        2 * first + pass_bytes(runtime, 1, head, head),
        texts + _writing(runtime, request, sources, head),
    ]
    if form.turn:
        return [*stages, first + drawing]
    # The image continues the thought, whose keys and values are kept, beside those of its blank rows.
    read = head + longest
    blank = (conditions - 1) * cache_bytes(runtime, sources, read)
    both = conditions * cache_bytes(runtime, sources, read)
    grown = cache_bytes(runtime, conditions * images, read)
    rest = _drawing_after(runtime, request, blank_length - head, images, 1, preview)
    joined = texts + blank + max(pass_bytes(runtime, sources, read, read), both)
    copied = both + cache_bytes(runtime, conditions * images, blank_length - head + _num_tokens(runtime))
    return [*stages, joined, texts + grown + max(copied, rest)]


def _reviewing(runtime: Runtime, request: ThinkingRequest, images: int, preview: bool) -> list[int]:
    """Bytes of the stages of drawing, judging and drawing again, for some images at once."""
    review, head = request.form.review, len(request.head)
    assert review is not None
    conditions = 1 + uses_guidance(request.options.guidance_scale)
    prefix = cache_bytes(runtime, 2 * conditions, head)
    stages = [prefix + _drawing_after(runtime, request, head, images, 1, preview)]
    if request.rounds == 0:
        return stages
    judging, longest = len(judging_tail(request.prompts, review)), request.thinking.max_new_tokens
    seen = 1 + runtime.embeds_shape[0] + judging
    texts = prefix + cache_bytes(runtime, images, head + seen + longest)
    reading = states_bytes(runtime, images, 2 * seen) + pass_bytes(runtime, images, seen, head + seen)
    writing = _writing(runtime, request, images, head + seen)
    again = head + _num_tokens(runtime) + judging + longest + len(redrawing_tail(request.prompts, review))
    drawing = _drawing_after(runtime, request, again, images, images, preview)
    return [*stages, prefix + vision_bytes(runtime, images), texts + max(reading, writing), prefix + drawing]


def _writing(runtime: Runtime, request: ThinkingRequest, texts: int, length: int) -> int:
    """To draw a token of each text, or the copied keys and values of a cache that grows, prompt included."""
    copied = copied_answer_slots(request.thinking)
    growing = 0 if copied is None else cache_bytes(runtime, texts, length + copied)
    return max(text_head_bytes(runtime, texts, SAMPLING_BYTES), growing)


def _drawing_after(
    runtime: Runtime, request: ThinkingRequest, length: int, images: int, num_sources: int, preview: bool
) -> int:
    """Bytes to draw images after rows of a length, equally many after each of `num_sources`."""
    rows = [[0] * length] * (1 + uses_guidance(request.options.guidance_scale))
    prompt, lookahead = PromptBatch.from_rows(rows, 0, -1), request.options.lookahead
    return drawing_bytes(runtime, prompt, images, preview, num_sources=num_sources, lookahead=lookahead)


def _num_tokens(runtime: Runtime) -> int:
    return runtime.model.generation.config.num_tokens
