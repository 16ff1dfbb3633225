"""Batched answer generation with shared-prefix prefill and KV-cache reuse between turns."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from ..arguments import checked_text
from ..models.cache import KVCache
from ..processing.chat import Turn
from ..sampling.decoding import prefill
from ..sampling.options import MAX_SEED, TextSampling
from ..sampling.steps import OnStep, part_of
from ..sampling.text import initial_answer_slots, sample_text
from .answer import EOS, LENGTH
from .conversation import Conversation
from .inputs import checked_options
from .prefix import SavedPrefix, SharedPrefix, image_embeds_between
from .questions import QuestionBatch, TokenizedQuestions, tokenize
from .rows import Chunk, fit, in_groups
from .runtime import Runtime
from .vision import ImageEmbedder
from .workspace import answer_bytes

# Memory for the saved prefixes of one call; the sequences that do not fit are computed again next time.
SAVED_PREFIX_BYTES = 2 * 2**30

# An answer that fails its check is generated again, sampled with another seed.
ATTEMPTS = 4
RETRY_TEMPERATURE = 0.7
# Larger than any batch, and within the 32 bits of a seed that torch's CPU generator uses.
RETRY_SEED_STEP = 1_000_003

Check = Callable[[str], str]
"""Validates an answer and returns it in the wanted form; raises ValueError to have it generated again."""


def answer_questions(
    runtime: Runtime,
    questions: QuestionBatch,
    options: TextSampling | None,
    check: Check | None,
    save_prefix: bool,
    on_step: OnStep,
) -> Iterator[Conversation]:
    """Answers each question of a batch, and yields its conversation.

    Conversations hold embeddings of images: keep only what you need. With `save_prefix`, they keep keys and
    values for their next turn as well.

    Raises:
        ValueError: if a question does not fit into the model's context.
        RuntimeError: if an answer fails its check `ATTEMPTS` times.
    """
    sampling = checked_options(options, TextSampling())
    # A retry continues from the saved prefix, so the prompt is not computed again.
    saves = save_prefix or check is not None

    def plan(smaller: Runtime) -> tuple[TokenizedQuestions, int]:
        prompts = tokenize(smaller, questions)
        return prompts, answer_bytes(smaller, questions, prompts, sampling, saves)

    # Before any image is encoded, so that a prompt that does not fit costs nothing.
    runtime, prompts = fit(runtime, questions.parts, plan)
    answers = _Answers(runtime, questions, prompts, sampling, saves, on_step)
    for offset, conversation in zip(questions.seed_offsets, answers.conversations(), strict=True):
        if check is not None:
            conversation = _retry_until_valid(runtime, conversation, offset, sampling, check, on_step)
        yield conversation if save_prefix else replace(conversation, saved_prefix=None)


class _Answers:
    """Generates the answers of a question batch, and what the next turn needs of them."""

    def __init__(
        self,
        runtime: Runtime,
        questions: QuestionBatch,
        prompts: TokenizedQuestions,
        options: TextSampling,
        save_prefix: bool,
        on_step: OnStep,
    ) -> None:
        self._runtime, self._questions, self._prompts = runtime, questions, prompts
        self._options, self._save_prefix, self._on_step = options, save_prefix, on_step
        self._embedder = ImageEmbedder(runtime, questions)
        self._budget = SAVED_PREFIX_BYTES if save_prefix else 0
        self._prefix: SharedPrefix | None = None

    def conversations(self) -> Iterator[Conversation]:
        """Generates one answer per sequence."""
        chunks = [Chunk(rows) for rows in self._prompts.chunks]
        for conversations in in_groups(self._runtime, chunks, self._generate):
            yield from conversations

    def _generate(self, chunk: Chunk, number: int, count: int) -> list[Conversation]:
        runtime, questions, prompts = self._runtime, self._questions, self._prompts
        model, eos_id = runtime.model, runtime.prompts.tokenizer.eos_id
        embedded = self._embedder.embed(chunk.rows)
        image_embeds = embedded.embeds
        prefix = self._shared_prefix(image_embeds)

        # Copy the prefix for each sequence of the chunk, then read what differs and generate.
        batch = runtime.prompts.batch([prompts.sequences[index] for index in chunk.rows])
        rest = batch.part(prefix.length)
        prompt_end = prefix.length + rest.length
        cache = prefix.cache.repeat(len(chunk.rows), prompt_end + initial_answer_slots(self._options))
        tokens = sample_text(
            model,
            rest.to(runtime.device),
            image_embeds_between(image_embeds, prompts.token_keys[0], prefix.length),
            self._options,
            eos_id,
            [questions.seed_offsets[index] for index in chunk.rows],
            part_of(self._on_step, number, count),
            cache,
        )

        # Copy what the next turn needs to main memory, as far as the budget goes.
        conversations = []
        for row, index in enumerate(chunk.rows):
            ids, images, saved = tokens[row].tolist(), prefix.image_embeds, None
            if image_embeds is not None and not questions.shares_images:
                images = image_embeds[row].to("cpu", copy=True)
            # End tokens follow as padding, also where the context was full before the model ended the answer.
            ids = ids[: model.body.config.max_position_embeddings - len(prompts.sequences[index])]
            # The model has read the answer up to its end token, but not the last token of the longest answer,
            # which was only sampled.
            answer_end = ids.index(eos_id) + 1 if eos_id in ids else len(ids)
            read = ids[: min(answer_end, cache.length - prompt_end)]
            size = _kv_bytes(runtime, len(prompts.sequences[index]) + len(read) - prefix.length)
            if self._save_prefix and size <= self._budget:
                self._budget -= size
                segments = (*prefix.kv_segments, cache.saved(row, prefix.length, prompt_end + len(read)))
                keys = prompts.token_keys[index] + read
                saved = SavedPrefix(
                    weakref.ref(model), runtime.device, keys, images, segments, runtime.adapters
                )
            said = _conversation(runtime, questions, prompts, prefix, index, ids, images, saved)
            unfamiliar = (*questions.start.unfamiliar, *embedded.unfamiliar[row])
            conversations.append(replace(said, unfamiliar=unfamiliar))
        return conversations

    def _shared_prefix(self, image_embeds: Tensor | None) -> SharedPrefix:
        """The prefix, read once; `image_embeds` are those of any chunk."""
        if self._prefix is None:
            self._prefix = _prefill_shared(
                self._runtime, self._questions, self._prompts, image_embeds, self._save_prefix
            )
            self._budget -= _kv_bytes(self._runtime, self._prefix.length - self._prefix.num_reused)
        return self._prefix


def _conversation(
    runtime: Runtime,
    questions: QuestionBatch,
    prompts: TokenizedQuestions,
    prefix: SharedPrefix,
    index: int,
    ids: list[int],
    image_embeds: Tensor | None,
    saved: SavedPrefix | None,
) -> Conversation:
    """The conversation of one sequence, with the answer of these token ids."""
    tokenizer = runtime.prompts.tokenizer
    finish_reason = EOS if tokenizer.eos_id in ids else LENGTH
    turn = Turn(questions.texts[index], questions.num_images, tokenizer.decode(ids), finish_reason)
    # The first sequence pays for the shared prefix.
    reused = prefix.length if index else prefix.num_reused
    return replace(
        questions.start,
        turns=(*questions.start.turns, turn),
        image_embeds=image_embeds,
        tokens_read=len(prompts.sequences[index]) - reused,
        tokens_reused=reused,
        saved_prefix=saved,
    )


def _prefill_shared(
    runtime: Runtime,
    questions: QuestionBatch,
    prompts: TokenizedQuestions,
    image_embeds: Tensor | None,
    save_prefix: bool,
) -> SharedPrefix:
    """Reads the shared prefix into a cache of one sequence, from saved keys and values as far as they go."""
    # Restore what is saved.
    length, reused = prompts.shared_length, prompts.reused_length
    model, segments = runtime.model, prompts.reused_segments
    cache = model.body.new_cache(1, length, runtime.device)
    for keys, values in segments:
        cache.restore(keys, values)
    # Compute the rest.
    if length > reused:
        part = runtime.prompts.batch([prompts.sequences[0]]).part(reused, length).to(runtime.device)
        first = None if image_embeds is None else image_embeds[:1]
        images = image_embeds_between(first, prompts.token_keys[0], reused, length)
        prefill(model, part, model.embed_prompt(part, images), cache=cache)
        segments = (*segments, cache.saved(0, reused, length)) if save_prefix else ()

    images = questions.start.image_embeds
    if image_embeds is not None and questions.images and questions.shares_images:
        images = image_embeds[0].to("cpu", copy=True)
    return SharedPrefix(length, reused, cache, segments, images)


def _kv_bytes(runtime: Runtime, length: int) -> int:
    """Size of the keys and values of some tokens."""
    return KVCache.num_bytes(runtime.model.body.config, 1, length, runtime.dtype)


def _retry_until_valid(
    runtime: Runtime,
    conversation: Conversation,
    seed_offset: int,
    options: TextSampling,
    check: Check,
    on_step: OnStep,
) -> Conversation:
    """The conversation with an answer that passes its check, generated again up to `ATTEMPTS` times."""
    first, tokens_read, problem = conversation, 0, None
    for attempt in range(ATTEMPTS):
        if attempt > 0:
            again = QuestionBatch(conversation.before(-1), [first.turns[-1].question], [0], [])
            seed = (int(options.seed) + seed_offset + attempt * RETRY_SEED_STEP) & MAX_SEED
            varied = replace(options, seed=seed, temperature=options.temperature or RETRY_TEMPERATURE)
            (conversation,) = _Answers(
                runtime, again, tokenize(runtime, again), varied, True, on_step
            ).conversations()
        tokens_read += conversation.tokens_read
        try:
            answer = check(conversation.answer)
        except ValueError as error:
            problem = error
        else:
            checked_text("result of check", answer, "return the answer as text", may_be_blank=True)
            valid = conversation.answered(answer, conversation.answer.finish_reason)
            return replace(valid, tokens_read=tokens_read, tokens_reused=first.tokens_reused)
    raise RuntimeError(f"{problem} (answer {seed_offset + 1}, the last of {ATTEMPTS} attempts)") from problem
