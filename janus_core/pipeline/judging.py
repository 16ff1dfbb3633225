"""Likelihood of given answers to questions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..sampling.likelihood import log_likelihoods
from ..sampling.steps import OnImage
from .questions import QuestionBatch
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
    longest, chunks = max(map(len, answers)), runtime.chunks(len(texts))
    # Before any image is encoded, so that a prompt that does not fit costs nothing.
    batches = [
        runtime.prompts.understanding(
            [texts[index] for index in chunk], questions.num_images, system_prompt, longest
        )
        for chunk in chunks
    ]
    runtime.reserve(answer_likelihood_bytes(runtime, questions, batches, longest))
    embedder = ImageEmbedder(runtime, questions)
    sums = []
    for chunk, batch in zip(chunks, batches, strict=True):
        batch = batch.to(runtime.device)
        sums.append(log_likelihoods(runtime.model, batch, embedder.embed(chunk).embeds, answers))
        on_image(chunk.stop, len(texts))
    return torch.cat(sums)
