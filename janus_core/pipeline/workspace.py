"""Memory that a run allocates beside the weights, estimated before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.cache import KVCache
from ..prompt_batch import PromptBatch
from ..sampling.options import TextSampling
from ..sampling.text import initial_answer_slots
from .questions import QuestionBatch
from .runtime import Runtime

# Feature maps of the image autoencoder's widest resolution that live at once.
_PIXEL_MAPS = 8


def answer_bytes(
    runtime: Runtime,
    questions: QuestionBatch,
    batches: Sequence[PromptBatch],
    shared_length: int,
    options: TextSampling,
) -> int:
    """Bytes to answer questions.

    Args:
        runtime: the model.
        questions: with the images that are encoded.
        batches: the tokenized questions of each chunk.
        shared_length: tokens of the prefix that all of them share.
        options: how long answers may be.
    """
    prompt = max(batch.length for batch in batches)
    rows = max(len(batch.input_ids) for batch in batches)
    cache = _cache(runtime, rows, prompt + initial_answer_slots(options)) + _cache(runtime, 1, shared_length)
    tokens = max(rows * (prompt - shared_length), shared_length)
    return cache + _activations(runtime, tokens) + vision_bytes(runtime, questions.max_images_encoded)


def answer_likelihood_bytes(
    runtime: Runtime, questions: QuestionBatch, batches: Sequence[PromptBatch], longest_answer: int
) -> int:
    """Bytes to compare answers of at most `longest_answer` tokens to questions."""
    prompt = max(batch.length for batch in batches)
    rows = max(len(batch.input_ids) for batch in batches)
    # Logits in the model's dtype, in float32, and their logarithms.
    logits = rows * longest_answer * 3 * 4 * runtime.model.config.body.vocab_size
    cache = _cache(runtime, rows, prompt + longest_answer)
    return (
        cache
        + logits
        + _activations(runtime, rows * prompt)
        + vision_bytes(runtime, questions.max_images_encoded)
    )


def drawing_bytes(runtime: Runtime, prompt: PromptBatch, num_images: int, pixels: bool) -> int:
    """Bytes to draw images of a prompt, whose batch has one sequence per condition."""
    generation = runtime.model.generation.config
    conditions = len(prompt.input_ids)
    images = min(num_images, runtime.max_batch_size)
    # The prompt is read once, then its cache is copied for each image.
    prefill = _cache(runtime, conditions, prompt.length) + _activations(runtime, conditions * prompt.length)
    cache = _cache(runtime, conditions * images, prompt.length + generation.num_tokens)
    step = _activations(runtime, conditions * images * generation.tokens_per_step)
    return prefill + cache + step + (codec_bytes(runtime) if pixels else 0)


def edit_bytes(runtime: Runtime, prompt: PromptBatch, num_images: int, longest_run: int) -> int:
    """Bytes to redraw images behind a prompt, reading runs of at most `longest_run` tokens at once."""
    generation = runtime.model.generation.config
    conditions = len(prompt.input_ids)
    images = min(num_images, runtime.max_batch_size)
    drawn = drawing_bytes(runtime, prompt, num_images, pixels=True)
    run = _activations(runtime, conditions * images * longest_run)
    # Log-probabilities of the known tokens of one image, in float32: logits, logarithms and a copy.
    likelihood = (
        3 * 4 * generation.num_tokens * runtime.model.token_generation.config.vq.codebook_size
        if longest_run > 1
        else 0
    )
    return drawn + run + likelihood + vision_bytes(runtime, 1)


def vision_bytes(runtime: Runtime, images: int) -> int:
    """Bytes to encode images with the understanding encoder."""
    vision = runtime.model.config.understanding.vision
    per_position = 8 * vision.hidden_size + 2 * vision.intermediate_size
    return min(images, runtime.max_batch_size) * vision.num_positions * per_position * runtime.dtype.itemsize


def codec_bytes(runtime: Runtime) -> int:
    """Bytes to encode or decode pixels, one image at a time."""
    generation = runtime.model.generation.config
    return _PIXEL_MAPS * generation.image_size**2 * generation.codec_channels * 4


def _cache(runtime: Runtime, sequences: int, length: int) -> int:
    return KVCache.num_bytes(runtime.model.config.body, sequences, length, runtime.dtype)


def _activations(runtime: Runtime, tokens: int) -> int:
    """Hidden states of some tokens within one block of the language model."""
    body = runtime.model.config.body
    return tokens * (6 * body.hidden_size + 4 * body.intermediate_size) * runtime.dtype.itemsize
