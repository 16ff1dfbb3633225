"""Scores and choices: how likely given answers are after a question."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..processing.judging import VERDICTS, first_difference, score_question, validate_choices
from ..sampling.likelihood import log_likelihoods
from ..sampling.steps import OnImage
from .questions import ImageEmbedder, QuestionBatch
from .runtime import Runtime
from .workspace import answer_likelihood_bytes


def score_questions(description: str | Sequence[str], template: str) -> list[str]:
    """One yes-or-no question per description."""
    descriptions = [description] if isinstance(description, str) else description
    return [score_question(template, text) for text in descriptions]


def verdict_tokens(runtime: Runtime, questions: Sequence[str]) -> tuple[list[int], list[int]]:
    """Tokens of "Yes" and of "No" after the questions, up to the first that differs."""
    yes, no = runtime.prompts.answers(VERDICTS, questions)
    return first_difference(yes, no)


def choice_tokens(runtime: Runtime, options: Sequence[str], question: str | Sequence[str]) -> list[list[int]]:
    """Tokens of each of the options as an answer to the questions."""
    questions = [question] if isinstance(question, str) else question
    return runtime.prompts.answers(validate_choices(options), questions)


def answer_log_probs(
    runtime: Runtime, questions: QuestionBatch, answers: Sequence[Sequence[int]], on_image: OnImage
) -> Tensor:
    """Log-probabilities [B, K] of K answers to each of B questions.

    Args:
        runtime: the model.
        questions: the batch; its conversation is a new one.
        answers: token ids of each answer.
        on_image: called with the questions that are done; raise to cancel.

    Raises:
        ValueError: if a question does not fit into the model's context.
    """
    texts, system_prompt = questions.texts, questions.start.system_prompt
    longest, chunks = max(map(len, answers)), runtime.chunks(len(texts))
    # Before any image is encoded, so that a prompt that does not fit costs nothing.
    batches = [
        runtime.prompts.understanding(
            [texts[index] for index in chunk], questions.num_images, system_prompt, longest
        )
        for chunk in chunks
    ]
    runtime.reserve(answer_likelihood_bytes(runtime, questions, batches, longest))
    embedder = ImageEmbedder(runtime, questions.images)
    sums = []
    for chunk, batch in zip(chunks, batches, strict=True):
        batch = batch.to(runtime.device)
        sums.append(log_likelihoods(runtime.model, batch, embedder.embed(chunk), answers))
        on_image(chunk.stop, len(texts))
    return torch.cat(sums)
