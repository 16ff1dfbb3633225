"""Likelihood of given answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..prompt_batch import PromptBatch
from ..sampling.likelihood import log_likelihoods
from ..sampling.steps import OnImage
from .questions import QuestionBatch
from .rows import Chunk, chunks_of, fit, in_groups
from .runtime import Runtime
from .vision import ImageEmbedder
from .workspace import answer_likelihood_bytes


def answer_log_probs(
    runtime: Runtime, questions: QuestionBatch, answers: Sequence[Sequence[int]], on_image: OnImage
) -> Tensor:
    """Log-probabilities [B, K] of K answers, as token ids, to each of B questions of a new conversation.

    Raises:
        ValueError: if a question does not fit into the model's context.
    """
    texts, system_prompt = questions.texts, questions.start.system_prompt
    longest = max(map(len, answers))

    def prompt(rows: Sequence[int]) -> PromptBatch:
        asked = [texts[row] for row in rows]
        return runtime.prompts.understanding(asked, questions.num_images, system_prompt, longest)

    # Before any image is encoded, so that a prompt that does not fit costs nothing.
    runtime, chunks = fit(
        runtime, questions.parts, lambda smaller: _plan(smaller, questions, prompt, longest)
    )
    embedder = ImageEmbedder(runtime, questions)

    def judge(chunk: Chunk, number: int, count: int) -> Tensor:
        batch = prompt(chunk.rows).to(runtime.device)
        sums = log_likelihoods(runtime.model, batch, embedder.embed(chunk.rows).embeds, answers)
        on_image(chunk.rows.stop, len(texts))
        return sums

    return torch.cat(list(in_groups(runtime, chunks, judge)))


def _plan(
    runtime: Runtime, questions: QuestionBatch, prompt: Callable[[Sequence[int]], PromptBatch], longest: int
) -> tuple[list[Chunk], int]:
    """The chunks of questions, and the bytes that they need for answers of at most `longest` tokens."""
    chunks = chunks_of(runtime, len(questions.texts))
    batches = [prompt(chunk.rows) for chunk in chunks]
    return chunks, answer_likelihood_bytes(runtime, questions, batches, longest)
