"""Batches of prompts as the model reads them: token ids, padding mask, positions and image positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptBatch:
    """Token ids of several sequences, left-padded to one length."""

    input_ids: Tensor  # [B, T] int64 ids into the language model's vocabulary
    attention_mask: Tensor  # [B, T] bool, True where a token is visible to later ones
    position_ids: Tensor  # [B, T] int64 rotary positions
    image_mask: Tensor  # [B, T] bool, True where an image's embedding replaces the token's own
    padded: bool  # whether any token is hidden; known on the host, so that no one waits for the device

    @property
    def length(self) -> int:
        """T, the number of tokens in each sequence."""
        return self.input_ids.shape[1]

    @classmethod
    def from_rows(
        cls,
        rows: list[list[int]],
        pad_id: int,
        image_id: int,
        start_embedding: bool = False,
        min_length: int = 0,
    ) -> PromptBatch:
        """Pads token ids on the left with hidden tokens; positions count the visible tokens from 0.

        Image embeddings replace the tokens `image_id`, and with `start_embedding` the one before each image.
        """
        length = max(min_length, *(len(row) for row in rows))
        input_ids = torch.full((len(rows), length), pad_id)
        attention_mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for index, row in enumerate(rows):
            input_ids[index, length - len(row) :] = torch.tensor(row)
            attention_mask[index, length - len(row) :] = True
        position_ids = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
        image_mask = (input_ids == image_id) & attention_mask
        if start_embedding:
            image_mask[:, :-1] |= image_mask[:, 1:].clone()
        padded = any(len(row) != length for row in rows)
        return cls(input_ids, attention_mask, position_ids, image_mask, padded)

    def next_positions(self, count: int) -> Tensor:
        """Rotary positions [B, count] of the tokens that follow the prompt."""
        steps = torch.arange(1, count + 1, device=self.position_ids.device)
        return self.position_ids[:, -1:] + steps

    def hide(self, row: int, first: int) -> PromptBatch:
        """The same batch with one sequence's tokens from `first` on hidden; positions stay the same."""
        attention_mask = self.attention_mask.clone()
        attention_mask[row, first:] = False
        return replace(self, attention_mask=attention_mask, padded=True)

    def after(self, num_read: Sequence[int]) -> PromptBatch:
        """The same batch with positions that continue after the tokens already read of each sequence."""
        offsets = torch.tensor(num_read, device=self.position_ids.device)
        return replace(self, position_ids=self.position_ids + offsets[:, None])

    def part(self, start: int, stop: int | None = None) -> PromptBatch:
        """The visible tokens of every sequence from position `start` to before `stop`, positions unchanged.

        `stop` needs a batch without padding.
        """
        assert stop is None or not self.padded
        kept = self.attention_mask & (self.position_ids >= start)
        columns = slice(start, stop)
        return PromptBatch(
            self.input_ids[:, columns],
            kept[:, columns],
            self.position_ids[:, columns],
            (self.image_mask & kept)[:, columns],
            self.padded,
        )

    def repeat(self, copies: int) -> PromptBatch:
        """Every sequence `copies` times, the copies adjacent."""
        return PromptBatch(
            self.input_ids.repeat_interleave(copies, dim=0),
            self.attention_mask.repeat_interleave(copies, dim=0),
            self.position_ids.repeat_interleave(copies, dim=0),
            self.image_mask.repeat_interleave(copies, dim=0),
            self.padded,
        )

    def first_of(self, sources: int) -> PromptBatch:
        """The first of each `sources` adjacent sequences: one per condition."""
        return PromptBatch(
            self.input_ids[::sources],
            self.attention_mask[::sources],
            self.position_ids[::sources],
            self.image_mask[::sources],
            self.padded,
        )

    def to(self, device: torch.device | str) -> PromptBatch:
        """Copies the batch to a device."""
        return PromptBatch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.position_ids.to(device),
            self.image_mask.to(device),
            self.padded,
        )


@dataclass(frozen=True)
class GenerationPromptStyle:
    """How the prompts of an image sampler are written."""

    includes_image_start: bool = True  # whether the prompt ends with the image start token
    masks_padding: bool = False  # whether the padding of the unconditional prompt is hidden from attention
