"""KV caches: the keys and values of the tokens that the transformer has read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..config import LlamaConfig


class Cache(Protocol):
    """What the transformer needs from a cache: one pass calls `mask`, `append` per layer, then `advance`."""

    length: int  # tokens read so far
    max_length: int  # tokens that fit
    exact: bool  # whether attention to it is that of `attend` with `exact`

    def mask(self, num_new: int) -> Tensor | None:
        """Attention mask [B or 1, 1, T, S] bool of T new tokens, True = visible; None: causal."""

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores one layer's new keys and values [B, H, T, D]; returns all that the new tokens attend to."""

    def advance(self, num_new: int) -> None:
        """Counts the new tokens as read, after all layers have appended them."""


class KVCache:
    """Preallocated key-value cache: filled from the left, can be rewound.

    Slots past `length` are never read. Rewinding therefore costs nothing, and is exact because attention is
    causal.
    """

    def __init__(
        self,
        config: LlamaConfig,
        batch_size: int,
        max_length: int,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        """Allocates an empty cache in the dtype that the transformer computes in."""
        self.config = config
        layers, heads = config.num_hidden_layers, config.num_key_value_heads
        shape = (layers, batch_size, heads, max_length, config.head_dim)  # [L, B, H, S, D]
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length, self.max_length, self.exact = 0, max_length, False
        self.visible: Tensor | None = None  # [B, S] bool, False for padding; None if there is none

    @staticmethod
    def num_bytes(config: LlamaConfig, batch_size: int, max_length: int, dtype: torch.dtype) -> int:
        """Memory that a cache of this size takes, in bytes."""
        per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        return per_token * dtype.itemsize * batch_size * max_length

    def mask(self, num_new: int) -> Tensor | None:
        """See `Cache`.

        None for a single new token, which sees the whole cache, and for a first prompt without padding, which
        is plainly causal: without a mask the fast attention kernels apply.
        """
        start, end = self.length, self.length + num_new
        if self.visible is None and (num_new == 1 or start == 0):
            return None
        slots = torch.arange(end, device=self.keys.device)
        queries = slots[start:, None]
        mask = (slots <= queries)[None]
        if self.visible is not None:
            # A padding token sees itself: with nothing visible, its softmax would be 0/0.
            mask = (mask & self.visible[:, None, :end]) | (slots == queries)[None]
        return mask[:, None]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cache`."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, num_new: int) -> None:
        """See `Cache`."""
        self.length += num_new

    def mark_padding(self, visible: Tensor) -> None:
        """Hides padding among the next T tokens, where `visible` [B, T] is False; later ones are visible."""
        if self.visible is None:
            size = (self.keys.shape[1], self.max_length)
            self.visible = torch.ones(size, device=self.keys.device, dtype=torch.bool)
        self.visible[:, self.length : self.length + visible.shape[1]] = visible

    def rewind(self, length: int) -> None:
        """Discards every token after the first `length`."""
        if not 0 <= length <= self.length:
            raise ValueError(f"length must be between 0 and the {self.length} filled slots, got {length}")
        self.length = length

    def reserve(self, max_length: int) -> None:
        """Grows the cache to at least `max_length` slots, keeping its contents."""
        if max_length > self.max_length:
            larger = self.repeat(1, max_length)
            self.keys, self.values, self.visible = larger.keys, larger.values, larger.visible
            self.max_length = max_length

    def repeat(self, copies: int, max_length: int) -> KVCache:
        """Copies the filled part into a new cache of `max_length` slots.

        Each sequence becomes `copies` adjacent ones, so that several images or answers can share one prefill.
        """
        layers, batch, heads, _, head_dim = self.keys.shape
        larger = KVCache(self.config, batch * copies, max_length, self.keys.device, self.keys.dtype)
        if self.visible is not None:
            larger.mark_padding(self.visible[:, : self.length].repeat_interleave(copies, dim=0))
        for target, source in ((larger.keys, self.keys), (larger.values, self.values)):
            grouped = target.view(layers, batch, copies, heads, max_length, head_dim)
            grouped[..., : self.length, :] = source[:, :, None, :, : self.length]
        larger.advance(self.length)
        return larger

    def select(self, indices: Sequence[int]) -> KVCache:
        """Copies the filled part of some sequences, in this order, repeated as often as they are named."""
        chosen = KVCache(self.config, len(indices), self.length, self.keys.device, self.keys.dtype)
        for target, source in ((chosen.keys, self.keys), (chosen.values, self.values)):
            target.copy_(source[:, list(indices), :, : self.length])
        if self.visible is not None:
            chosen.mark_padding(self.visible[list(indices), : self.length])
        chosen.advance(self.length)
        return chosen

    def beside(self, other: KVCache) -> KVCache:
        """A new cache with the sequences of this one, then those of another with as many filled slots."""
        assert self.length == other.length
        size = self.keys.shape[1] + other.keys.shape[1]
        both = KVCache(self.config, size, self.length, self.keys.device, self.keys.dtype)
        for target, first, second in (
            (both.keys, self.keys, other.keys),
            (both.values, self.values, other.values),
        ):
            target[:, : first.shape[1]] = first[..., : self.length, :]
            target[:, first.shape[1] :] = second[..., : self.length, :]
        if self.visible is not None or other.visible is not None:
            both.mark_padding(torch.cat([cache.visible_slots() for cache in (self, other)]))
        both.advance(self.length)
        return both

    def visible_slots(self) -> Tensor:
        """Which of the filled slots are visible, [B, T] bool."""
        if self.visible is not None:
            return self.visible[:, : self.length]
        shape = (self.keys.shape[1], self.length)
        return torch.ones(shape, device=self.keys.device, dtype=torch.bool)

    def hide(self, visible: Tensor) -> None:
        """Hides those of the filled slots where `visible` [B, T] is False."""
        visible = visible & self.visible_slots()
        length, self.length = self.length, 0
        self.mark_padding(visible)
        self.length = length

    def saved(self, index: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Copies one sequence's keys and values [L, H, T, D] of the visible slots of a range to the CPU."""
        slots = torch.arange(start, stop, device=self.keys.device)
        if self.visible is not None:
            slots = slots[self.visible[index, start:stop]]
        keys = self.keys[:, index].index_select(2, slots)
        values = self.values[:, index].index_select(2, slots)
        return keys.cpu(), values.cpu()

    def restore(self, keys: Tensor, values: Tensor) -> None:
        """Appends saved keys and values [L, H, T, D] to every sequence."""
        end = self.length + keys.shape[2]
        self.keys[..., self.length : end, :] = keys[:, None]
        self.values[..., self.length : end, :] = values[:, None]
        self.advance(keys.shape[2])


class NoCache:
    """Stands in for a cache where all tokens are read in one pass, as in training."""

    length = 0
    max_length = 2**62
    exact = False

    def __init__(self, visible: Tensor | None = None) -> None:
        """Takes the attention mask [B or 1, 1, T, T] bool of these tokens, True = visible; None: causal."""
        self.visible = visible

    def mask(self, num_new: int) -> Tensor | None:
        """See `Cache`."""
        return self.visible

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cache`: the new tokens attend to themselves only."""
        return keys, values

    def advance(self, num_new: int) -> None:
        """See `Cache`: nothing is kept."""


class StaggeredCache:
    """A view of a `KVCache` whose sequences are filled to different lengths: slots are named by a tensor.

    Of the last `place`: token t of sequence b goes to slot `slots[b, t]`, and attends to the slots up to it.
    """

    length = 0  # `place` says what is filled

    def __init__(self, cache: KVCache) -> None:
        """Prepares a view of a cache, and zeroes what is not filled yet: even hidden, a NaN would spread."""
        self.cache, self.max_length, self.exact = cache, cache.max_length, cache.exact
        for states in (cache.keys, cache.values):
            states[..., cache.length :, :].zero_()

    def place(self, slots: Tensor, end: int) -> None:
        """Names the slots [B, T] of the next tokens, all before `end`; what they hold is replaced.

        A slot named twice in a row holds either token.
        """
        self.slots, self.end = slots, end
        self._rows = torch.arange(len(slots), device=slots.device)[:, None]

    def mask(self, num_new: int) -> Tensor:
        """See `Cache`."""
        filled = torch.arange(self.end, device=self.slots.device) <= self.slots[..., None]
        if self.cache.visible is not None:
            filled = filled & self.cache.visible[:, None, : self.end]
        return filled[:, None]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cache`."""
        self.cache.keys[layer][self._rows, :, self.slots] = keys.transpose(1, 2)
        self.cache.values[layer][self._rows, :, self.slots] = values.transpose(1, 2)
        return self.cache.keys[layer, :, :, : self.end], self.cache.values[layer, :, :, : self.end]

    def advance(self, num_new: int) -> None:
        """See `Cache`."""
        self.cache.length = self.end
