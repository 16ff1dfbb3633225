"""What runs ask their host for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from janus_nodes.janus_core import Janus, Part, Parts


class Reserved(list[int]):
    """The bytes that runs reserve, and the parts that they say they use."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Parts] = []

    def reserve(self, num_bytes: int, parts: Parts) -> None:
        """Is the `reserve` of a pipeline."""
        self.append(num_bytes)
        self.parts.append(parts)


@contextmanager
def used_parts(model: Janus) -> Iterator[set[Part]]:
    """Yields the parts whose layers compute something."""
    used: set[Part] = set()
    hooks = [
        layer.register_forward_hook(lambda *_, part=part: used.add(part))
        for part in Part
        for path in part.value
        for layer in model.get_submodule(path).modules()
        if not any(True for _ in layer.children())
    ]
    yield used
    for hook in hooks:
        hook.remove()
