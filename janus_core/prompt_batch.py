"""What crosses from text to model: token ids, which of them count, and where images go."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptBatch:
    """Rows of token ids, left-padded to one length.

    Attributes:
        input_ids: [B, T] int64 ids into the language model's vocabulary.
        attention_mask: [B, T] bool, True where a token is visible to later ones.
        position_ids: [B, T] int64 rotary positions.
        image_mask: [B, T] bool, True where an image's embedding replaces the token's own.
        padded: whether any token is hidden. Known here, on the host, so that the model never has to ask the
            device.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    image_mask: Tensor
    padded: bool

    @property
    def length(self) -> int:
        """T, the number of tokens in each row."""
        return self.input_ids.shape[1]

    @classmethod
    def from_rows(
        cls, rows: list[list[int]], pad_id: int, image_id: int, start_embedding: bool = False
    ) -> PromptBatch:
        """Pads rows on the left with hidden tokens; positions count the visible ones from 0.

        Args:
            rows: one list of token ids per row, none empty.
            pad_id: the id that fills the left.
            image_id: the id whose positions take image embeddings.
            start_embedding: whether the position before each image takes one, too.
        """
        length = max(len(row) for row in rows)
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

    def hide(self, row: int, first: int) -> PromptBatch:
        """The same batch with a row's tokens from `first` on hidden from later ones; positions stay."""
        attention_mask = self.attention_mask.clone()
        attention_mask[row, first:] = False
        return replace(self, attention_mask=attention_mask, padded=True)

    def part(self, start: int, stop: int | None = None) -> PromptBatch:
        """The visible tokens of every row from its `start`-th to before its `stop`-th; positions stay.

        Only rows without padding can be cut at `stop`.
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

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same batch on another device."""
        return PromptBatch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.position_ids.to(device),
            self.image_mask.to(device),
            self.padded,
        )


@dataclass(frozen=True)
class GenerationPromptStyle:
    """How an image sampler wants its prompt rows written.

    Attributes:
        includes_image_start: whether the prompt ends with the image start token.
        masks_padding: whether attention skips the padding of the unconditional row.
    """

    includes_image_start: bool = True
    masks_padding: bool = False
