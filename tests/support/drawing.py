"""Observes and controls a model while it generates an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from janus_nodes.janus_core import JanusPipeline, TokenSampling
from janus_nodes.janus_core.models.janus import Janus
from torch import Tensor


@contextmanager
def counted_images(pipe: JanusPipeline) -> Iterator[list[int]]:
    """Records the number of images in each pass through the vision encoder."""
    sizes: list[int] = []
    hook = pipe.model.understanding.register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
    yield sizes
    hook.remove()


class Trace:
    """Inputs, hidden states and logits of each step of generation."""

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.inputs: list[Tensor] = []

    @property
    def rows(self) -> list[int]:
        """Batch size of each pass through the transformer."""
        return [len(inputs) for inputs in self.inputs]


@contextmanager
def traced(model: Janus) -> Iterator[Trace]:
    """Records every pass through the transformer and the token head."""
    trace = Trace()

    def note_head(module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        trace.hidden.append(inputs[0][:, -1])
        trace.logits.append(output[:, -1])

    hooks = [
        model.generation.head.register_forward_hook(note_head),
        model.body.register_forward_hook(lambda module, inputs, output: trace.inputs.append(inputs[0])),
    ]
    yield trace
    for hook in hooks:
        hook.remove()


class Forced:
    """Replaces the token sampler and returns recorded tokens, so that a recorded image can be followed."""

    def __init__(self, tokens: Tensor) -> None:
        self.steps = iter(tokens.long().unbind(dim=1))

    def __call__(self, options: TokenSampling, rows: Sequence[int]) -> Forced:
        """Replaces the constructor of the sampler."""
        return self

    def draw_ahead(self, logits: Tensor) -> Tensor:
        """The next recorded token of every sequence."""
        assert logits.shape[1] == 1  # plain drawing
        return next(self.steps)[:, None]

    def settle(self, counts: Sequence[int]) -> None:
        """Does nothing: every token is drawn once."""
