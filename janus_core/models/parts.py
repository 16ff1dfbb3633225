"""The parts of a model, which a host can keep on a device or off it one by one."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum


class Part(Enum):
    """A part, with the paths of its modules in `Janus`; those that take part in the most steps come first."""

    BODY = ("body.layers", "body.norm")
    GENERATION = ("generation",)
    TEXT_HEAD = ("body.lm_head",)
    VISION = ("understanding",)
    # A step reads one row of it per sequence, wherever it is.
    TEXT_TABLE = ("body.embed_tokens",)


Parts = Collection[Part]

# The parts that a run uses; one that does several of these uses them all.
DRAWING = frozenset({Part.BODY, Part.GENERATION, Part.TEXT_TABLE})
ANSWERING = frozenset({Part.BODY, Part.TEXT_HEAD, Part.TEXT_TABLE})
SEEING = frozenset({Part.VISION})
CODING = frozenset({Part.GENERATION})  # images to tokens or latents, and back
NOTHING: frozenset[Part] = frozenset()
