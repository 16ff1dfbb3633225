"""KV-cache prefixes, kept in main memory and reused by sequences that start with the same tokens."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.cache import KVCache
from ..models.janus import Janus
from .runtime import AppliedAdapter, Runtime

KVSegment = tuple[Tensor, Tensor]
"""Keys and values [L, H, t, D] of t consecutive tokens, on the CPU."""


@dataclass(frozen=True, eq=False)
class SavedPrefix:
    """Keys and values of the tokens that a model has read.

    Attention is causal, so what was computed for a prefix holds for every sequence that starts with it. The
    tensors are never changed: conversations with a common start share them.

    Attributes:
        model: the model that read them; a weak reference, so that a conversation keeps no model alive.
        device: where it computed.
        token_keys: what it read at each position, as `PromptBuilder.token_keys` encodes it.
        image_embeds: [I, N, C] embeddings of the images that it read; None for text alone.
        kv_segments: keys and values of consecutive runs of tokens.
        adapters: the adapters in the model's weights at that time.
    """

    model: weakref.ReferenceType[Janus]
    device: torch.device
    token_keys: list[int]
    image_embeds: Tensor | None
    kv_segments: tuple[KVSegment, ...]
    adapters: tuple[AppliedAdapter, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Memory of the keys and values."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.kv_segments)

    def is_valid_for(self, runtime: Runtime, image_embeds: Tensor | None) -> bool:
        """Whether this model, as it is now, would compute the same keys and values."""
        if self.model() is not runtime.model or self.device != runtime.device:
            return False
        if self.kv_segments[0][0].dtype != runtime.dtype or self.adapters != runtime.adapters:
            return False
        if self.image_embeds is None or image_embeds is None:
            return self.image_embeds is image_embeds
        # Nearly always the very same tensor, so compare identity first.
        return self.image_embeds is image_embeds or torch.equal(self.image_embeds, image_embeds)

    def truncated(self, length: int) -> tuple[KVSegment, ...]:
        """The segments of the first `length` tokens."""
        kept = []
        for keys, values in self.kv_segments:
            if length > 0:
                kept.append((keys[:, :, :length], values[:, :, :length]))
            length -= keys.shape[2]
        return tuple(kept)


@dataclass(frozen=True)
class SharedPrefix:
    """The prefix that all sequences of a call have in common, in a cache of one sequence.

    Attributes:
        length: its tokens, of which `num_reused` came from a saved prefix.
        kv_segments: their keys and values in main memory; empty unless they are to be saved.
        image_embeds: [I, N, C] on the CPU, if all sequences see the same images.
    """

    length: int
    num_reused: int
    cache: KVCache
    kv_segments: tuple[KVSegment, ...]
    image_embeds: Tensor | None


def common_length(sequences: Sequence[list[int]]) -> int:
    """Length of the longest prefix that all sequences share."""
    # In sorted order, the first and the last sequence differ earliest.
    pairs = list(zip(min(sequences), max(sequences), strict=False))
    return next((index for index, (first, last) in enumerate(pairs) if first != last), len(pairs))


def with_unique_image_ids(token_keys: list[list[int]], num_shared: int) -> list[list[int]]:
    """Renumbers the images after the first `num_shared`, so that no two sequences have the same keys there.

    The i-th image of a sequence has the key -1 - i at each of its positions.
    """
    lowest = min(map(min, token_keys))
    if lowest >= -num_shared:
        return token_keys
    return [
        [key if key >= -num_shared else key + lowest * (index + 1) for key in keys]
        for index, keys in enumerate(token_keys)
    ]


def image_embeds_between(
    image_embeds: Tensor | None, token_keys: Sequence[int], start: int, stop: int | None = None
) -> Tensor | None:
    """Embeddings [B, n, C] for the image positions from `start` to before `stop`; None if there are none.

    Takes those [B, I, N, C] of all images of B sequences, which have them at the positions of `token_keys`.
    """
    first, last = (sum(key < 0 for key in token_keys[:end]) for end in (start, stop))
    return None if image_embeds is None or first == last else image_embeds.flatten(1, 2)[:, first:last]
