"""Helpers of the tests of thinking and reviewing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from janus_nodes.janus_core.models.janus import Janus
from janus_nodes.janus_core.presets import PLAIN_ROLES, TAGGED_ROLES
from torch import Tensor

ROLES = {
    "t2i-r1": PLAIN_ROLES,
    "got-r1": PLAIN_ROLES,
    "reasongen-r1": TAGGED_ROLES,
    "janus-pro-r1": TAGGED_ROLES,
    "describe": TAGGED_ROLES,
}
LIMIT = TextSampling(max_new_tokens=24)  # as the recorded runs
IMAGE_STEPS = (0, 1, 2, 3, 15)  # of which image logits are recorded


def greedy(guidance_scale: float = 5.0, **options: Any) -> TokenSampling:
    """Options of images that take the likeliest tokens."""
    return TokenSampling(guidance_scale=guidance_scale, temperature=0.0, lookahead=1, **options)


def with_roles(pipe: JanusPipeline, form: str) -> JanusPipeline:
    """The same model with the role texts of a form's checkpoint."""
    user, assistant = ROLES[form]
    chat = replace(pipe.prompts.chat, user=user, assistant=assistant)
    return replace(pipe, prompts=replace(pipe.prompts, chat=chat))


@contextmanager
def forced_text(
    model: Janus, forced: Mapping[str, int | Sequence[int | None]] | None
) -> Iterator[list[Tensor]]:
    """Makes some tokens of a text the likeliest ones, as in the recorded runs; yields the logits before that.

    Keys are steps, counted over all texts from 0; values are the token of all sequences, or of each.
    """
    logits: list[Tensor] = []

    def force(module: Any, inputs: Any, output: Tensor) -> Tensor:
        tokens = (forced or {}).get(str(len(logits)))
        logits.append(output.clone())
        rows = tokens if isinstance(tokens, Sequence) else [tokens] * len(output)
        for row, token in zip(output, rows, strict=True):
            if token is not None:
                row[token] = row.max() + 1
        return output

    hook = model.body.lm_head.register_forward_hook(force)
    yield logits
    hook.remove()


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Compares numbers with the reference's."""
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
