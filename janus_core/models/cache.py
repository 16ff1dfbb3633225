"""Keys and values of the tokens that the body has read."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import LlamaConfig


class KVCache:
    """Static key-value cache: sized ahead, filled from the left, rewindable.

    Slots past `length` hold nothing that is ever read, so going back to an earlier length is free, and exact
    because attention is causal.
    """

    def __init__(
        self,
        config: LlamaConfig,
        batch_size: int,
        max_length: int,
        device: torch.device | str,
        dtype: torch.dtype,
        visible: Tensor | None = None,
    ) -> None:
        """Allocates room for `max_length` tokens in each of `batch_size` rows.

        Args:
            config: the body's sizes.
            batch_size: B, rows.
            max_length: S, slots per row.
            device: where the body computes.
            dtype: the dtype that the body computes in.
            visible: [B, T] bool of the first T slots, False where a left-padded prompt holds padding; None
                when every slot is visible. Slots after T are always visible.
        """
        self.config = config
        shape = (
            config.num_hidden_layers,
            batch_size,
            config.num_key_value_heads,
            max_length,
            config.head_dim,
        )
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0
        self.visible: Tensor | None = None
        if visible is not None:
            self.mark(visible)

    @property
    def max_length(self) -> int:
        """S, the slots of each row."""
        return self.keys.shape[3]

    @staticmethod
    def num_bytes(config: LlamaConfig, batch_size: int, max_length: int, dtype: torch.dtype) -> int:
        """Memory that a cache of this size takes, in bytes."""
        per_token = (
            2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize
        )
        return per_token * batch_size * max_length

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes one layer's [B, H, T, D] after the filled part; returns all that the new tokens may read."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def mask(self, num_new: int) -> Tensor | None:
        """[B or 1, 1, T, S] bool: True where new token t may read slot s; None where causality alone says it.

        A single new token sees the whole cache, and a first prompt without padding is plainly causal: neither
        needs a mask, and without one the fast attention kernels apply.
        """
        start, end = self.length, self.length + num_new
        if self.visible is None and (num_new == 1 or start == 0):
            return None
        slots = torch.arange(end, device=self.keys.device)
        queries = slots[start:, None]
        mask = (slots <= queries)[None]
        if self.visible is not None:
            # A padding token sees itself: a row that sees nothing would be 0/0 in the softmax.
            mask = (mask & self.visible[:, None, :end]) | (slots == queries)[None]
        return mask[:, None]

    def advance(self, tokens: int) -> None:
        """Counts `tokens` more slots as filled, once every layer has appended them."""
        self.length += tokens

    def mark(self, visible: Tensor) -> None:
        """Says which of the slots after the filled part are no padding.

        Args:
            visible: [B, T] bool of the next T slots; those after them are visible.
        """
        if self.visible is None:
            self.visible = torch.ones(
                self.keys.shape[1], self.max_length, device=self.keys.device, dtype=torch.bool
            )
        self.visible[:, self.length : self.length + visible.shape[1]] = visible

    def reserve(self, max_length: int) -> None:
        """Makes room for at least `max_length` slots in all; what is filled stays."""
        if max_length > self.max_length:
            larger = self.repeat(1, max_length)
            self.keys, self.values, self.visible = larger.keys, larger.values, larger.visible

    def saved(self, row: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Copies in main memory of a row's keys and values [L, H, T, D] in the visible slots of a range."""
        slots = torch.arange(start, stop, device=self.keys.device)
        if self.visible is not None:
            slots = slots[self.visible[row, start:stop]]
        return self.keys[:, row].index_select(2, slots).cpu(), self.values[:, row].index_select(
            2, slots
        ).cpu()

    def restore(self, keys: Tensor, values: Tensor) -> None:
        """Writes keys and values [L, H, T, D] of all layers after the filled part of every row."""
        end = self.length + keys.shape[2]
        self.keys[..., self.length : end, :] = keys[:, None]
        self.values[..., self.length : end, :] = values[:, None]
        self.advance(keys.shape[2])

    def rewind(self, length: int) -> None:
        """Forgets every token after the first `length`."""
        if not 0 <= length <= self.length:
            raise ValueError(f"length must be between 0 and the {self.length} filled slots, got {length}")
        self.length = length

    def repeat(self, copies: int, max_length: int) -> KVCache:
        """A larger cache in which each row's filled part stands `copies` times in a row.

        Rows that share a prompt compute it once.
        """
        layers, batch, heads, _, head_dim = self.keys.shape
        visible = None
        if self.visible is not None:
            visible = self.visible[:, : self.length].repeat_interleave(copies, dim=0)
        larger = KVCache(self.config, batch * copies, max_length, self.keys.device, self.keys.dtype, visible)
        for target, source in ((larger.keys, self.keys), (larger.values, self.values)):
            rows = target.view(layers, batch, copies, heads, max_length, head_dim)
            rows[..., : self.length, :] = source[:, :, None, :, : self.length]
        larger.advance(self.length)
        return larger


class NoCache:
    """Stands in for a `KVCache` where all tokens are read at once and nothing is kept, as in training."""

    length = 0
    max_length = 2**62

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the tokens may read: themselves."""
        return keys, values

    def mask(self, num_new: int) -> None:
        """All is causal."""

    def advance(self, tokens: int) -> None:
        """Keeps nothing."""


class NextSlot:
    """A cache as a recorded step sees it: one more token, in a slot that a tensor names.

    What is recorded does the same to the same memory each time, so no number of Python's may stand in it that
    differs from step to step. All slots up to a fixed one are looked at, and a mask hides those to come.
    """

    length = 0  # the recorded steps count for themselves

    def __init__(self, cache: KVCache, end: int) -> None:
        """Looks at a cache, and clears the slots that are hidden for now: 0 times NaN would be seen.

        Args:
            cache: what was read before; whoever runs a recorded step advances it.
            end: slots that are looked at; the new token's must be one of them.
        """
        self.cache, self.end, self.max_length = cache, end, cache.max_length
        self.slot = torch.zeros(1, device=cache.keys.device, dtype=torch.long)
        self.slots = torch.arange(end, device=cache.keys.device)
        for kept in (cache.keys, cache.values):
            kept[..., cache.length : end, :].zero_()

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes one layer's [B, H, 1, D] into the slot; returns all slots up to the last."""
        self.cache.keys[layer].index_copy_(2, self.slot, keys)
        self.cache.values[layer].index_copy_(2, self.slot, values)
        return self.cache.keys[layer, :, :, : self.end], self.cache.values[layer, :, :, : self.end]

    def mask(self, num_new: int) -> Tensor:
        """[B or 1, 1, 1, S] bool: the slots up to the new token's that are no padding."""
        filled = (self.slots <= self.slot)[None]
        if self.cache.visible is not None:
            filled = filled & self.cache.visible[:, : self.end]
        return filled[:, None, None]

    def advance(self, tokens: int) -> None:
        """The slot's tensor says it."""


Cache = KVCache | NoCache | NextSlot
