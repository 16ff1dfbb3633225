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
    """Notes how many images each pass through the vision tower takes."""
    sizes: list[int] = []
    hook = pipe.model.understanding.register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
    yield sizes
    hook.remove()


class Trace:
    """What passed through a model while it drew, per step."""

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.inputs: list[Tensor] = []

    @property
    def rows(self) -> list[int]:
        """Rows that the body saw in each pass."""
        return [len(inputs) for inputs in self.inputs]


@contextmanager
def traced(model: Janus) -> Iterator[Trace]:
    """Notes every pass through the body and the head."""
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
    """Stands in for the drawer and draws recorded tokens, so that a path drawn elsewhere can be followed."""

    def __init__(self, tokens: Tensor) -> None:
        self.steps = iter(tokens.long().unbind(dim=1))

    def __call__(self, options: TokenSampling, rows: Sequence[int]) -> Forced:
        """Takes the place of making a drawer."""
        return self

    def draw(self, logits: Tensor) -> Tensor:
        """The next recorded token of every row."""
        return next(self.steps)
