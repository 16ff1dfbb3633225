"""Images to features and embeddings, by the understanding encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..sampling.steps import OnImage, ignore_image
from .inputs import ImageBatch, VisionFeatures
from .questions import QuestionBatch
from .rows import Chunk, chunks_of, in_groups
from .runtime import Runtime


@dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """The images of some sequences.

    Attributes:
        embeds: [B, I, N, C] of the I images of each sequence, those of the conversation first; None without
            images.
        unfamiliar: for each sequence, `VisionFeatures.unfamiliar` of its new images.
    """

    embeds: Tensor | None
    unfamiliar: list[tuple[bool, ...]]


class ImageEmbedder:
    """Embeds the images of a question batch, chunk by chunk; images that all sequences share, only once."""

    def __init__(self, runtime: Runtime, questions: QuestionBatch) -> None:
        self._runtime, self._images = runtime, questions.images
        earlier = questions.start.image_embeds
        self._earlier = None if earlier is None else earlier.to(runtime.device)
        self._shared = [self._encode(batch) if len(batch) == 1 else None for batch in self._images]

    def embed(self, chunk: range) -> EmbeddedImages:
        """Embeds the images of some sequences."""
        embeds = [] if self._earlier is None else [self._earlier.expand(len(chunk), -1, -1, -1)]
        unfamiliar: list[tuple[bool, ...]] = [()] * len(chunk)
        for batch, shared in zip(self._images, self._shared, strict=True):
            new_embeds, flags = self._encode(batch[list(chunk)]) if shared is None else shared
            embeds.append(new_embeds[:, None].expand(len(chunk), -1, -1, -1))
            if flags:
                flags *= len(chunk) // len(flags)  # of an image that all share
                unfamiliar = [(*row, flag) for row, flag in zip(unfamiliar, flags, strict=True)]
        return EmbeddedImages(torch.cat(embeds, dim=1) if embeds else None, unfamiliar)

    def _encode(self, images: ImageBatch) -> tuple[Tensor, tuple[bool, ...]]:
        """Embeddings [B, N, C] of images, and `VisionFeatures.unfamiliar`."""
        features = encode_vision(self._runtime, images)
        return features.image_embeds, features.unfamiliar


def encode_vision(runtime: Runtime, images: ImageBatch, on_image: OnImage = ignore_image) -> VisionFeatures:
    """Features of images [B, H, W, C] in [0, 1]; features are returned, with embeddings on the device."""
    if isinstance(images, VisionFeatures):
        return replace(images, image_embeds=images.image_embeds.to(runtime.device))
    unfamiliar: list[bool] = []

    def encode(chunk: Chunk, number: int, count: int) -> tuple[Tensor, Tensor]:
        pixel_values = runtime.image_processor.pixel_values(images[list(chunk.rows)])
        outputs = runtime.model.understanding(pixel_values.to(runtime.device))
        unfamiliar.extend(are_unfamiliar(runtime, pixel_values))
        on_image(chunk.rows.stop, len(images))
        return outputs

    outputs = list(in_groups(runtime, chunks_of(runtime, len(images)), encode))
    features, embeds = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return VisionFeatures(embeds, features, tuple(unfamiliar))


def are_unfamiliar(runtime: Runtime, pixel_values: Tensor) -> tuple[bool, ...]:
    """Returns for each image [B, 3, S, S] whether it is unlike all known ones; empty where this is not known.

    With a LoRA adapter, the model may know more than its checkpoint does.
    """
    if runtime.known_images is None or runtime.adapters:
        return ()
    return runtime.known_images.are_unfamiliar(pixel_values)
