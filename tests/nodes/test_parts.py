"""What ComfyUI's own arithmetic leaves in main memory for cards of some sizes, at released sizes.

Nothing is computed: on `meta`, models are as large as one says, and take no memory.
"""

from __future__ import annotations

from functools import cache

import comfy.model_management as mm
import pytest
import torch
from janus_nodes.janus_core import Janus, Part, TokenSampling
from janus_nodes.nodes.movable import make_movable
from janus_nodes.nodes.parts import JanusPart, part_patchers, reserve
from support.reserving import Reserved
from support.sizes import released_config, sized_pipeline

GPU, MAIN_MEMORY = torch.device("meta", 0), torch.device("meta")
GIB = 2**30
# What a step of drawing takes of the generation: not the autoencoder.
STEP = ("body.layers", "body.norm", "generation.head", "generation.aligner", "generation.embed")


@cache
def model_and_needs(quantized: str | None) -> tuple[Janus, dict[int, int]]:
    """Janus-Pro-7B, and the working memory to draw 1 and 8 images."""
    pipe = sized_pipeline(released_config("Janus-Pro-7B"), "meta", torch.bfloat16, quantized)
    make_movable(pipe.model)
    needs = {}
    for count in (1, 8):
        reserved = Reserved()

        def stop(num_bytes: int, parts: object, reserved: Reserved = reserved) -> None:
            reserved.append(num_bytes)
            raise MemoryError

        pipe.reserve = stop
        with pytest.raises(MemoryError):
            pipe.generate("A red fox in the snow. " * 3, TokenSampling(batch_size=count))
        needs[count] = reserved[0]
    return pipe.model, needs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantized", "images", "free", "most"),
    [
        ("int8", 1, 7.3, 0.0),  # 8 GB
        ("int8", 8, 11.2, 0.0),  # 12 GB
        (None, 1, 11.2, 1.76),
        (None, 8, 15.2, 1.64),  # 16 GB
        (None, 1, 7.3, 5.69),
    ],
)
def test_a_drawing_step_moves_few_weights(
    monkeypatch: pytest.MonkeyPatch, quantized: str | None, images: int, free: float, most: float
) -> None:
    model, needs = model_and_needs(quantized)
    patchers = part_patchers(model, GPU, MAIN_MEMORY)
    on_card = [patcher.model for part, patcher in patchers.items() if part is not Part.TEXT_TABLE]

    def free_memory(device: object = None, torch_free_too: bool = False) -> float | tuple[float, float]:
        left = free * GIB - sum(part.model_loaded_weight_memory for part in on_card)
        return (left, 0) if torch_free_too else left

    monkeypatch.setattr(mm, "get_free_memory", free_memory)
    monkeypatch.setattr(mm, "vram_state", mm.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(mm, "MIN_WEIGHT_MEMORY_RATIO", 0.0)
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 0.4 * GIB)
    reserve(patchers, needs[images], {Part.BODY, Part.GENERATION, Part.TEXT_TABLE})
    moved = sum(
        mm.module_size(layer)
        for layer in JanusPart(model, STEP).modules()
        if getattr(layer, "comfy_cast_weights", False)
    )
    for patcher in patchers.values():
        patcher.detach()
    mm.current_loaded_models.clear()
    assert patchers[Part.TEXT_HEAD].loaded_size() == patchers[Part.VISION].loaded_size() == 0
    assert moved <= (most + 0.005) * GIB, moved / GIB
