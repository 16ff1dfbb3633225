"""Images to features and embeddings, by the understanding encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sampling.steps import OnImage, ignore_image
from .inputs import ImageBatch, VisionFeatures
from .questions import QuestionBatch
from .runtime import Runtime


class ImageEmbedder:
    """Embeds the images of a question batch, chunk by chunk; images that all sequences share, only once."""

    def __init__(self, runtime: Runtime, questions: QuestionBatch) -> None:
        self._runtime, self._images = runtime, questions.images
        earlier = questions.start.image_embeds
        self._earlier = None if earlier is None else earlier.to(runtime.device)
        self._shared = [
            encode_vision(runtime, batch).image_embeds if len(batch) == 1 else None for batch in self._images
        ]

    def embed(self, chunk: range) -> Tensor | None:
        """Embeddings [B, I, N, C] of the I images of some sequences; None without images.

        Those of the conversation come first, followed by the new ones.
        """
        embeds = [] if self._earlier is None else [self._earlier.expand(len(chunk), -1, -1, -1)]
        for batch, shared in zip(self._images, self._shared, strict=True):
            if shared is None:
                embeds.append(encode_vision(self._runtime, batch[list(chunk)]).image_embeds[:, None])
            else:
                embeds.append(shared[:, None].expand(len(chunk), -1, -1, -1))
        return torch.cat(embeds, dim=1) if embeds else None


def encode_vision(runtime: Runtime, images: ImageBatch, on_image: OnImage = ignore_image) -> VisionFeatures:
    """Features of images [B, H, W, C] in [0, 1]; features are returned, with embeddings on the device."""
    if isinstance(images, VisionFeatures):
        return VisionFeatures(images.image_embeds.to(runtime.device), images.last_hidden_state)
    outputs = []
    for chunk in runtime.chunks(len(images)):
        pixel_values = runtime.image_processor.pixel_values(images[list(chunk)])
        outputs.append(runtime.model.understanding(pixel_values.to(runtime.device)))
        on_image(chunk.stop, len(images))
    features, embeds = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return VisionFeatures(embeds, features)
