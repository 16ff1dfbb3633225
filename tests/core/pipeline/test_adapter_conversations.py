"""Conversations remembered under one LoRA adapter are not continued under another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, load_pipeline
from safetensors.torch import save_file
from torch import Tensor

SHORT = TextSampling(max_new_tokens=6)


def write_adapter(folder: Path, module: str, rows: int, columns: int, seed: int) -> Path:
    """An adapter of one module, with random numbers."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    generator = torch.Generator().manual_seed(seed)
    matrices = {
        f"base_model.model.{module}.lora_A.weight": torch.randn(2, columns, generator=generator),
        f"base_model.model.{module}.lora_B.weight": torch.randn(rows, 2, generator=generator) * 0.1,
    }
    save_file(matrices, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of the language model."""
    module = "language_model.model.layers.0.self_attn.o_proj"
    root = tmp_path_factory.mktemp("language")
    return [write_adapter(root / str(seed), module, 64, 64, seed) for seed in range(2)]


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory, pipe: JanusPipeline) -> Path:
    """An adapter of the vision tower."""
    width = pipe.model.config.understanding.vision.hidden_size
    module = "vision_model.vision_tower.blocks.0.attn.proj"
    return write_adapter(tmp_path_factory.mktemp("vision") / "sight", module, width, width, 0)


def under(pipe: JanusPipeline, golden_root: Path, *adapters: tuple[Path, float]) -> JanusPipeline:
    """The golden checkpoint with adapters, and with the same model object for all, as in ComfyUI."""
    loaded = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32, adapters=adapters)
    return replace(pipe, adapters=loaded.adapters)


def test_keys_and_values_of_other_adapters_are_computed_again(
    pipe: JanusPipeline, golden_root: Path, language: list[Path], images: Tensor
) -> None:
    first, second = language
    pipes = [
        pipe,
        under(pipe, golden_root, (first, 1.0)),
        under(pipe, golden_root, (first, 0.5)),
        under(pipe, golden_root, (second, 1.0)),
        under(pipe, golden_root, (first, 1.0), (second, 1.0)),
    ]
    for one in pipes:
        said = one.chat("What is this?", images[:1], options=SHORT)
        for other in pipes:
            reused = other.chat("Why?", None, said, SHORT).tokens_reused
            assert (reused > 0) is (one is other)
    again = under(pipe, golden_root, (second, 1.0), (first, 1.0))
    assert again.chat("Why?", None, said, SHORT).tokens_reused > 0
    off = under(pipe, golden_root, (first, 0.0))
    assert off.chat("Why?", None, pipe.chat("Hello!", options=SHORT), SHORT).tokens_reused > 0


def test_a_conversation_goes_on_under_another_adapter_as_if_it_had_read_everything(
    pipe: JanusPipeline, golden_root: Path, language: list[Path], images: Tensor
) -> None:
    adapters = [(language[0], 1.0)]
    adapted = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32, adapters=adapters)
    said = pipe.chat("What is this?", images[:1], options=SHORT)
    continued = adapted.chat("Why?", None, said, SHORT)
    fresh = adapted.chat("Why?", None, replace(said, saved_prefix=None), SHORT)
    assert continued.tokens_reused == 0
    assert continued.turns == fresh.turns
    assert continued.turns != pipe.chat("Why?", None, said, SHORT).turns


def test_images_that_another_vision_adapter_encoded_are_refused(
    pipe: JanusPipeline, golden_root: Path, language: list[Path], vision: Path, images: Tensor
) -> None:
    sees = under(pipe, golden_root, (vision, 0.5), (language[0], 1.0))
    said = sees.chat("What is this?", images[:1], options=SHORT)
    wrong = r"with the LoRA adapters that encoded its images, 'sight' at 0\.5, got none; start a new one with"
    with pytest.raises(ValueError, match=wrong):
        pipe.chat("Why?", None, said, SHORT)
    with pytest.raises(ValueError, match=r"its images, none, got 'sight' at 0\.5; start"):
        sees.chat("Why?", None, pipe.chat("What is this?", images[:1], options=SHORT), SHORT)
    # Another adapter of the language model alone may go on, and so may a conversation without images.
    under(pipe, golden_root, (vision, 0.5)).chat("Why?", None, said, SHORT)
    text = pipe.chat("Hello!", options=SHORT)
    sees.chat("And this?", images[:1], text, SHORT)
