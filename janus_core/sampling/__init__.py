"""The loops that turn a prompt into text or an image: functions over a model that know no tokenizer."""

from __future__ import annotations

from ..models.token_generation import TokenGeneration
from .tokens import sample_image_tokens

# The second of the two dispatches between ways of drawing; `models.janus` holds the first.
IMAGE_SAMPLERS = {TokenGeneration: sample_image_tokens}
