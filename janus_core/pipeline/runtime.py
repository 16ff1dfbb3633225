"""A model together with what every task needs to run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..models.janus import Janus
from ..models.parts import NOTHING, Parts
from ..processing.images import ImageProcessor
from ..processing.known_images import KnownImages
from ..processing.prompts import PromptBuilder
from ..sampling.options import FlowSampling, TokenSampling
from .device_memory import Room, free_room

Reserve = Callable[[int, Parts], None]
"""Called before a run with the bytes that it will allocate beside the weights, and the parts that it uses."""


def reserve_nothing(num_bytes: int, parts: Parts) -> None:
    """A `Reserve` for callers that manage no memory."""


@dataclass(frozen=True)
class AppliedAdapter:
    """A LoRA adapter in a model's weights.

    Attributes:
        name: of its folder or file, for messages.
        digest: SHA-256 of its files, in hexadecimal.
        strength: how much of it is applied; not 0.
        changes_vision: whether it changes how images are encoded.
    """

    name: str
    digest: str
    strength: float
    changes_vision: bool


@dataclass
class Runtime:
    """A loaded model with its processors.

    Attributes:
        model: the network.
        prompts: text to token ids, in the checkpoint's own format.
        image_processor: images to pixel tensors.
        device: where the model computes. Weights may be on another device if their layers move them.
        folder: the checkpoint.
        default_options: the checkpoint's own values of the options that draw images; none is None.
        max_batch_size: sequences or images that are computed together if memory allows; larger batches are
            split.
        edit_form: the form of edit prompts that the checkpoint was trained for, one of `EDIT_FORMS`; None if
            it is not known to edit.
        thinking_form: how the checkpoint was trained to think about what it draws, one of `THINKING_FORMS`;
            None if it is not known to be.
        reserve: asks the host (e.g. ComfyUI) for memory.
        room: how much memory a run that uses some parts can get on the device; None if it is not known.
        reserved: bytes that the run in progress has reserved.
        parts: those that it uses.
        adapters: LoRA adapters in the weights, in the order of their content.
        roles_from: where the chat template's role texts were found, such as "the folder's name,
            'Janus-Pro-1B'"; empty if they are only a default.
        known_images: what the checkpoint was trained on, to detect unfamiliar images; None if unknown.
    """

    model: Janus
    prompts: PromptBuilder
    image_processor: ImageProcessor
    device: torch.device
    folder: Path
    default_options: TokenSampling | FlowSampling
    max_batch_size: int
    edit_form: str | None = None
    thinking_form: str | None = None
    reserve: Reserve = reserve_nothing
    room: Callable[[torch.device, Parts], Room | None] = free_room
    reserved: int = 0
    parts: Parts = NOTHING
    adapters: tuple[AppliedAdapter, ...] = ()
    roles_from: str = ""
    known_images: KnownImages | None = None

    @property
    def vision_adapters(self) -> tuple[AppliedAdapter, ...]:
        """The adapters that change how images are encoded."""
        return tuple(adapter for adapter in self.adapters if adapter.changes_vision)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the language model computes in."""
        return self.model.body.norm.weight.dtype

    @property
    def embeds_shape(self) -> tuple[int, int]:
        """Positions and width of the embeddings of one image."""
        config = self.model.config
        return config.understanding.num_embeddings, config.body.hidden_size

    def chunks(self, count: int) -> list[range]:
        """The indices from 0 to before `count`, split into batches."""
        size = self.max_batch_size
        return [range(start, min(start + size, count)) for start in range(0, count, size)]
