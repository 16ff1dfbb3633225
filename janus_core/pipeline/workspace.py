"""Working memory of a run beside the weights, estimated from exact sizes before it starts.

An estimate is the largest phase of a run: the tensors that exist at the same time, as tests count them.
Workspaces of cuBLAS and cuDNN, and the allocator's fragmentation, are not included.
"""

from __future__ import annotations

import torch
from torch import nn

from ..models.attention import score_bytes
from ..models.cache import KVCache
from ..models.quantized import registry
from ..prompt_batch import PromptBatch
from ..sampling.lookahead import window
from ..sampling.options import TextSampling
from ..sampling.text import initial_answer_slots
from .questions import QuestionBatch, TokenizedQuestions
from .runtime import Runtime

# Bytes per text logit: for sampling, float32 copies, probabilities, noise, and their order for top_p; for
# log-probabilities, 16-bit logits and two float32 copies, or float32 logits and the check for NaN.
SAMPLING_BYTES, _LOG_PROB_BYTES = 32, 11


def answer_bytes(
    runtime: Runtime,
    questions: QuestionBatch,
    prompts: TokenizedQuestions,
    options: TextSampling,
    saves: bool,
) -> int:
    """Bytes to answer questions with at most `CACHE_GROWTH` tokens; `saves`: keys and values are copied."""
    shared = prompts.shared_length
    prefix = cache_bytes(runtime, 1, shared)
    phases = [prefix + pass_bytes(runtime, 1, shared - prompts.reused_length, shared)]
    for batch in prompts.batches:
        sequences, length = batch.input_ids.shape
        slots = length + initial_answer_slots(options)
        cache = prefix + cache_bytes(runtime, sequences, slots)
        prompt_states = states_bytes(runtime, sequences, 2 * (length - shared))
        prefill = cache + pass_bytes(runtime, sequences, length - shared, length)
        sampling = cache + prompt_states + text_head_bytes(runtime, sequences, SAMPLING_BYTES)
        saving = cache + saves * cache_bytes(runtime, 1, slots)  # one sequence at a time
        phases += [prefill, sampling, saving]
    return _with_images(runtime, questions, max(phases))


def answer_likelihood_bytes(
    runtime: Runtime, questions: QuestionBatch, batches: list[PromptBatch], longest_answer: int
) -> int:
    """Bytes to compare answers of at most `longest_answer` tokens to questions."""
    phases = []
    for batch in batches:
        sequences, length = batch.input_ids.shape
        cache = cache_bytes(runtime, sequences, length + longest_answer - 1)
        first = sequences * 4 * runtime.model.config.body.vocab_size  # its log-probabilities are kept
        later = text_head_bytes(runtime, sequences * max(longest_answer - 1, 1), _LOG_PROB_BYTES)
        prefill = cache + pass_bytes(runtime, sequences, length, length)
        comparing = cache + states_bytes(runtime, sequences, 2 * length) + first + later
        phases += [prefill, comparing]
    return _with_images(runtime, questions, max(phases))


def drawing_bytes(
    runtime: Runtime,
    prompt: PromptBatch,
    num_images: int,
    preview: bool,
    num_known_tokens: int = 0,
    tokens_per_pass: int = 1,
    num_sources: int = 1,
    lookahead: int | None = 1,
) -> int:
    """Bytes to draw images, without decoding them afterwards.

    Args:
        runtime: the model.
        prompt: one sequence per condition.
        num_images: of the whole batch, which is split into chunks.
        preview: whether the callback of a run may decode an image while others are drawn.
        num_known_tokens: tokens of an image that are read with the prompt.
        tokens_per_pass: the most tokens that are read in one pass after it, if more than are drawn.
        num_sources: images in the prompt or to inpaint that are read together, each for equally many images.
        lookahead: that of the options, if the model draws token by token.
    """
    generation, itemsize = runtime.model.generation.config, runtime.dtype.itemsize
    num_images = min(num_images, runtime.max_batch_size)
    sequences, slots = len(prompt.input_ids) * num_images, prompt.length + generation.num_tokens
    prompts, length = len(prompt.input_ids) * num_sources, prompt.length + num_known_tokens
    num_drawn = generation.tokens_per_step * window(runtime.model, lookahead, sequences)
    num_new = max(tokens_per_pass, num_drawn)
    # The prompt is read once for all images, then its cache is copied for each of them.
    cache = cache_bytes(runtime, sequences, slots)
    prompt_cache = cache_bytes(runtime, prompts, length) if num_images > num_sources else 0
    prompt_states = states_bytes(runtime, prompts, 2 * length)
    # Outputs of a step are those of all sequences; of known tokens, those of one image at a time.
    outputs = max(sequences * num_drawn, num_new) * generation.output_bytes(itemsize)
    step = max(
        pass_bytes(runtime, sequences, num_new, slots),
        states_bytes(runtime, sequences, 2 * num_new) + outputs,
    )
    prefill = (prompt_cache or cache) + pass_bytes(runtime, prompts, length, length)
    later = max(prompt_cache, step, preview * codec_bytes(runtime, 1))
    return with_margin(max(prefill, cache + prompt_states + later))


def vision_bytes(runtime: Runtime, images: int) -> int:
    """Bytes to encode images with the understanding encoder."""
    config, itemsize = runtime.model.config.understanding, runtime.dtype.itemsize
    vision = config.vision
    size, heads, positions = vision.hidden_size, vision.num_attention_heads, vision.num_positions
    attention = 7 * size * itemsize + score_bytes(runtime.device, heads, size // heads, positions, positions)
    feed_forward = (3 * size + 2 * vision.intermediate_size) * itemsize
    pixels = 3 * vision.image_size**2 * (4 + itemsize)
    outputs = config.num_embeddings * (size + config.aligner.hidden_size) * itemsize
    # The outputs of all chunks are kept, then copied into one tensor.
    chunk = min(images, runtime.max_batch_size)
    layers = runtime.model.understanding.modules()
    conversion = max(conversion_bytes(runtime, layer, chunk * positions) for layer in layers)
    run = chunk * (positions * max(attention, feed_forward) + pixels) + conversion
    return with_margin(max(run + (images - chunk) * outputs, 2 * images * outputs))


def codec_bytes(runtime: Runtime, images: int) -> int:
    """Bytes to encode or decode pixels one image at a time, plus `images` decoded images."""
    generation = runtime.model.generation.config
    # At full resolution, a level's first block holds its input, also normalised and activated; the next block
    # holds the level's input, its own, the first convolution's output, and that normalised and activated.
    channels = [max(3 * first, first + 4 * second) for first, second in generation.codec_levels]
    # The autoencoders are kept in float32 where the model computes in fp16.
    itemsize = 4 if runtime.dtype is torch.float16 else runtime.dtype.itemsize
    per_pixel = max(channels, default=0) * itemsize + 3 * 4 * (images + 1)
    return with_margin(generation.image_size**2 * per_pixel)


def _with_images(runtime: Runtime, questions: QuestionBatch, answering: int) -> int:
    """The larger of encoding a chunk's images and answering, beside the images' embeddings."""
    chunk = min(len(questions.texts), runtime.max_batch_size)
    images = questions.start.num_images + len(questions.images)
    # Those of images that all sequences share are kept once more.
    embeds = states_bytes(runtime, chunk + 1, images * runtime.embeds_shape[0])
    encoding = vision_bytes(runtime, min(questions.max_images_encoded, chunk))
    return with_margin(embeds + max(encoding, answering))


def pass_bytes(runtime: Runtime, sequences: int, tokens: int, slots: int) -> int:
    """Activations of the transformer while it reads tokens, with the attention mask in bool and its dtype.

    The feed-forward layers run beside 5 hidden states: the transformer's inputs, the block's inputs, the
    output of attention, the sum, and the normalised sum.
    """
    config, itemsize = runtime.model.config.body, runtime.dtype.itemsize
    size, heads, head_dim = config.hidden_size, config.num_attention_heads, config.head_dim
    rotated = (heads + config.num_key_value_heads) * head_dim
    projected = rotated + config.num_key_value_heads * head_dim
    mask = (1 + itemsize) * slots
    scores = score_bytes(runtime.device, heads, head_dim, slots, tokens) + 2 * mask
    attention = (3 * size + projected + 3 * rotated) * itemsize + scores
    feed_forward = (5 * size + 4 * config.intermediate_size + 2 * head_dim) * itemsize + mask
    # A kernel may take the widest layer, and leave others to be converted.
    layers = runtime.model.body.get_submodule("layers.0").modules()
    conversion = max(conversion_bytes(runtime, layer, sequences * tokens) for layer in layers)
    return sequences * tokens * max(attention, feed_forward) + conversion


def text_head_bytes(runtime: Runtime, vectors: int, bytes_per_logit: int) -> int:
    """Text logits, and what is computed from them."""
    conversion = conversion_bytes(runtime, runtime.model.body.lm_head, vectors)
    return max(conversion, vectors * runtime.model.config.body.vocab_size * bytes_per_logit)


def conversion_bytes(runtime: Runtime, layer: nn.Module, vectors: int) -> int:
    """What a linear layer takes where the model computes, which its weights may be moved to only then."""
    return registry.conversion_bytes(layer, vectors, runtime.dtype, runtime.device)


def states_bytes(runtime: Runtime, sequences: int, tokens: int) -> int:
    """Hidden states, or inputs of the transformer."""
    return sequences * tokens * runtime.model.config.body.hidden_size * runtime.dtype.itemsize


def cache_bytes(runtime: Runtime, sequences: int, slots: int) -> int:
    """Keys and values."""
    return KVCache.num_bytes(runtime.model.config.body, sequences, slots, runtime.dtype)


def with_margin(num_bytes: int) -> int:
    """Adds 2 %, for token ids, positions, small tensors and what the allocator rounds up."""
    return num_bytes * 51 // 50
