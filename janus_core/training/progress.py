"""Pictures that show how far a model in training is."""

from __future__ import annotations

import random

import numpy as np
import torch

from ..pipeline.pipeline import JanusPipeline
from ..processing.images import to_pillow
from ..sampling.options import TokenSampling
from .pictures import drawn, grid, to_images, to_pictures
from .samples import Data

COLUMNS = 8


def sample_sheet(pipeline: JanusPipeline, data: Data, drawings: bool) -> np.ndarray:
    """Eight pictures, what the tokenizer makes of them, and below, if wanted, drawings of the data's prompts.

    Returns:
        [H, W, 3] uint8.
    """
    rng = random.Random("samples")
    size = pipeline.model.config.generation.image_size
    chosen = [to_pillow(image) for image in to_images([data.picture(rng) for _ in range(COLUMNS)])]
    pictures = [np.asarray(picture.resize((size, size))) for picture in chosen]
    tokens = pipeline.encode_tokens(torch.stack(to_images(pictures)))
    pictures += to_pictures(pipeline.decode_tokens(tokens))
    options = pipeline.image_options()
    if drawings and isinstance(options, TokenSampling):
        for prompt in data.prompts:
            pictures += drawn(pipeline, prompt, options)
    return grid(pictures, COLUMNS)
