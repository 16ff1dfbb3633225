"""How much memory a run takes beside the weights, so that a host can make room before it starts.

Estimates are generous: they count bytes as tokens, and the largest tensors of each kind as alive at
once. At most `ROWS_AT_ONCE` rows or images are at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from torch import Tensor

from ..models.cache import KVCache
from ..processing.judging import VERDICTS
from ..sampling.guidance import uses_guidance
from ..sampling.options import EditSampling, FlowSampling, TextSampling, TokenSampling
from ..sampling.text import initial_answer_slots
from .conversation import Conversation
from .inputs import Images, image_places
from .pipeline import ROWS_AT_ONCE, JanusPipeline
from .routing import DESCRIBE, DESCRIBE_AND_GENERATE, EDIT, GENERATE, LETTERS, UNDERSTAND, routing_question

# Feature maps of the image autoencoder's widest resolution that live at once.
_PIXEL_MAPS = 8


def memory_to_understand(
    pipeline: JanusPipeline,
    images: Images | None,
    question: str,
    options: TextSampling,
    conversation: Conversation | None = None,
) -> int:
    """Bytes that `JanusPipeline.understand` and `converse` take for these inputs."""
    past = 0 if conversation is None else _tokens_of(pipeline, conversation)
    return _to_ask(pipeline, *_rows(images), question, initial_answer_slots(options), past)


def memory_to_choose(
    pipeline: JanusPipeline, images: Images | None, question: str, options: Sequence[str]
) -> int:
    """Bytes that `JanusPipeline.choose` takes for these inputs."""
    return _to_compare(pipeline, *_rows(images), question, options)


def memory_to_score(pipeline: JanusPipeline, images: Images, description: str, template: str) -> int:
    """Bytes that `JanusPipeline.score` takes for these inputs."""
    return _to_compare(pipeline, *_rows(images), template + description, VERDICTS)


def memory_to_find_best(
    pipeline: JanusPipeline, prompt: str, options: TokenSampling | FlowSampling, template: str
) -> int:
    """Bytes that `best_of` takes for these inputs.

    Raises:
        ValueError: if the options are not for this model.
    """
    draw = memory_to_generate(pipeline, prompt, options)
    return max(draw, _to_compare(pipeline, 1, options.batch_size, template + prompt, VERDICTS))


def memory_to_route(pipeline: JanusPipeline, request: str) -> int:
    """Bytes that `route` takes for this request."""
    return memory_to_choose(pipeline, None, routing_question(request), LETTERS)


def memory_to_reply(
    pipeline: JanusPipeline,
    image: Tensor | None,
    request: str,
    task: str,
    text: TextSampling,
    drawing: TokenSampling,
) -> int:
    """Bytes that `reply` takes for these inputs.

    Raises:
        ValueError: if the model does not draw as the task needs.
    """
    if task == EDIT:
        return memory_to_edit(pipeline, request, EditSampling(**asdict(drawing)))
    needs = []
    if task in (UNDERSTAND, DESCRIBE_AND_GENERATE):
        needs.append(memory_to_understand(pipeline, image, request + DESCRIBE, text))
    if task in (GENERATE, DESCRIBE_AND_GENERATE):
        # A description that is drawn is as long as an answer may be.
        most = min(text.max_new_tokens, pipeline.prompts.max_length)
        told = request if task == GENERATE else " " * most
        needs.append(memory_to_generate(pipeline, told, drawing))
    return max(needs)


def memory_to_caption(pipeline: JanusPipeline, question: str, options: TextSampling) -> int:
    """Bytes that `caption_folder` takes, however many images there are."""
    return _to_ask(pipeline, 1, ROWS_AT_ONCE, question, initial_answer_slots(options))


def memory_to_generate(pipeline: JanusPipeline, prompt: str, options: TokenSampling | FlowSampling) -> int:
    """Bytes that `JanusPipeline.generate` takes for these inputs.

    Raises:
        ValueError: if the options are not for this model.
    """
    pipeline.image_options(options)
    rows = 2 if uses_guidance(options.guidance_scale) else 1
    tokens_per_step = pipeline.model.generation.config.tokens_per_step
    return _drawing(pipeline, rows, options.batch_size, _text_tokens(prompt), tokens_per_step)


def memory_to_edit(
    pipeline: JanusPipeline, instruction: str, options: EditSampling, masked: bool = False
) -> int:
    """Bytes that `JanusPipeline.edit` takes for these inputs, with a mask or in any other form.

    Raises:
        ValueError: if the model cannot edit.
    """
    pipeline.image_options(options)
    generation, words = pipeline.model.token_generation.config, _text_tokens(instruction)
    if not masked:  # the longest prompt holds the picture twice
        prompt = words + pipeline.model.config.understanding.num_embeddings + generation.num_tokens
        return _drawing(pipeline, 3, options.batch_size, prompt, 1) + memory_to_see(pipeline, 1)
    # Most of the picture may be kept, and is read at once.
    rows = 2 if uses_guidance(options.guidance_scale) else 1
    images = options.batch_size * options.candidates
    drawn = _drawing(pipeline, rows, images, words + generation.num_tokens, generation.num_tokens)
    # Likelihoods of one row's tokens, in float32: logits, their logarithms, and one more on the way.
    judged = 3 * 4 * generation.num_tokens * generation.vq.codebook_size
    return drawn + judged


def memory_to_see(pipeline: JanusPipeline, images: int) -> int:
    """Bytes that the understanding encoder takes for some images."""
    vision = pipeline.model.config.understanding.vision
    per_position = 8 * vision.hidden_size + 2 * vision.intermediate_size
    return min(images, ROWS_AT_ONCE) * vision.num_positions * per_position * pipeline.dtype.itemsize


def memory_for_pixels(pipeline: JanusPipeline) -> int:
    """Bytes that pixels take on their way in or out, however many images: they go one at a time."""
    generation = pipeline.model.generation.config
    return _PIXEL_MAPS * generation.image_size**2 * generation.codec_channels * 4


def _rows(images: Images | None) -> tuple[int, int]:
    """How many images each question has, and how many questions there are."""
    places = image_places(images)
    return len(places), max([1, *map(len, places)])


def _to_ask(
    pipeline: JanusPipeline, images: int, rows: int, question: str, new_tokens: int, past: int = 0
) -> int:
    """Reading questions about some images each, and room for that many tokens behind them."""
    rows = min(rows, ROWS_AT_ONCE)
    prompt = images * pipeline.model.config.understanding.num_embeddings + _text_tokens(question)
    # What was read before lies in a cache of its own, which is then copied for each row.
    cache = _cache(pipeline, rows, past + prompt + new_tokens) + _cache(pipeline, 1, past)
    return cache + _activations(pipeline, rows * (past + prompt)) + memory_to_see(pipeline, rows)


def _to_compare(
    pipeline: JanusPipeline, images: int, rows: int, question: str, answers: Sequence[str]
) -> int:
    longest = max((len(answer.encode()) + 1 for answer in answers), default=1)
    # Logits in the model's dtype, in float32, and their logarithms.
    vocabulary = 3 * 4 * pipeline.model.config.body.vocab_size
    ask = _to_ask(pipeline, images, rows, question, longest)
    return ask + min(rows, ROWS_AT_ONCE) * longest * vocabulary


def _tokens_of(pipeline: JanusPipeline, conversation: Conversation) -> int:
    """Tokens of a conversation, up to a short question."""
    waiting, system_prompt, turns = conversation.num_waiting, conversation.system_prompt, conversation.turns
    return len(pipeline.prompts.question("?", waiting, system_prompt, turns))


def _drawing(pipeline: JanusPipeline, rows: int, images: int, prompt: int, tokens_at_once: int) -> int:
    """Bytes for images of a prompt of so many tokens, with so many rows each."""
    images = min(images, ROWS_AT_ONCE)
    # The prompt is read once into a cache of its own, which is then copied for each image.
    read = _cache(pipeline, rows, prompt) + _activations(pipeline, rows * prompt)
    drawn = _cache(pipeline, rows * images, prompt + pipeline.model.generation.config.num_tokens)
    step = _activations(pipeline, rows * images * tokens_at_once)
    return read + drawn + step + memory_for_pixels(pipeline)


def _text_tokens(text: str) -> int:
    """At most as many tokens as a text has bytes, and some for the template around it."""
    return len(text.encode()) + 64


def _cache(pipeline: JanusPipeline, rows: int, length: int) -> int:
    return KVCache.num_bytes(pipeline.model.config.body, rows, length, pipeline.dtype)


def _activations(pipeline: JanusPipeline, tokens: int) -> int:
    body = pipeline.model.config.body
    return tokens * (6 * body.hidden_size + 4 * body.intermediate_size) * pipeline.dtype.itemsize
