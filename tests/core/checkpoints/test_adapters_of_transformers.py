"""Adapters that peft saves on transformers' Janus: its logits, on checkpoints of both layouts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import load_pipeline, save_checkpoint
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.processing.tokenizer import read_tokenizer
from support.adapters import LANGUAGE_TARGETS, write_with_peft
from support.checkpoints import GOLDEN, TOKENIZER_FILES, randomize
from support.parametrize import slow_except
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
)

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of transformers' own Janus, of random weights."""
    tokenizer = read_tokenizer(GOLDEN / "janus-pro-tiny")
    text = LlamaConfig(
        hidden_size=48,
        intermediate_size=100,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=448,
        pad_token_id=tokenizer.pad_id,
        tie_word_embeddings=False,
    )
    vision = JanusVisionConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=24,
        patch_size=8,
        mlp_ratio=2.0,
        projection_dim=48,
        num_image_tokens=9,
    )
    vq = JanusVQVAEConfig(
        embed_dim=6,
        num_embeddings=64,
        latent_channels=16,
        base_channels=32,
        channel_multiplier=[1, 1, 1, 1],
        num_res_blocks=1,
        projection_dim=48,
        image_token_embed_dim=48,
    )
    config = JanusConfig(
        text_config=text,
        vision_config=vision,
        vq_config=vq,
        image_token_id=tokenizer.image_id,
        tie_word_embeddings=False,
    )
    model = JanusForConditionalGeneration(config).float()
    randomize(model)
    folder = tmp_path_factory.mktemp("port")
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(GOLDEN / "janus-pro-tiny" / name, folder / name)
    return folder


def oracle(folder: Path) -> Any:
    """The model of transformers', for peft to wrap."""
    return JanusForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


PORT_FORMS: dict[str, dict[str, Any]] = {
    "language": {"target_modules": LANGUAGE_TARGETS},
    "vision by regex": {"target_modules": r".*vision_model.*\.(q_proj|v_proj|projection_layer|fc1)"},
    "whole modules": {"target_modules": ["o_proj"], "modules_to_save": ["aligner", "lm_head"]},
    "rank-stabilized": {"target_modules": ["k_proj", "fc2"], "use_rslora": True, "rank_pattern": {"fc2": 3}},
}


@pytest.mark.parametrize("form", slow_except(PORT_FORMS, "vision by regex", "whole modules"))
def test_an_adapter_of_the_port_gives_its_logits_in_both_layouts(
    port: Path, form: str, tmp_path: Path
) -> None:
    wrapped = write_with_peft(tmp_path / "adapter", oracle(port), **PORT_FORMS[form]).eval()
    save_checkpoint(load_pipeline(port, dtype=torch.float32), tmp_path / "original")
    plain = load_pipeline(port, dtype=torch.float32)
    images = torch.rand(2, 21, 34, 3, generator=torch.Generator().manual_seed(0))
    prompt = plain.prompts.understanding(["Who?", "What is it?"], 1, "Be brief.")
    pixel_values = plain.image_processor.pixel_values(images)
    with torch.no_grad():
        expected = wrapped(
            input_ids=prompt.input_ids,
            attention_mask=prompt.attention_mask.long(),
            position_ids=prompt.position_ids,
            pixel_values=pixel_values,
        ).logits
        base = oracle(port)(
            input_ids=prompt.input_ids,
            attention_mask=prompt.attention_mask.long(),
            position_ids=prompt.position_ids,
            pixel_values=pixel_values,
        ).logits
    visible = prompt.attention_mask
    assert float((expected - base)[visible].abs().max()) > 0.01
    for folder in (port, tmp_path / "original"):
        pipe = load_pipeline(folder, dtype=torch.float32, adapters=[(tmp_path / "adapter", 1.0)])
        body = pipe.model.body
        cache = KVCache(body.config, 2, prompt.length, torch.device("cpu"), torch.float32)
        cache.mark_padding(prompt.attention_mask)
        with torch.no_grad():
            embeds = pipe.model.embed_prompt(prompt, pipe.encode_vision(images).image_embeds)
            found = body.lm_head(body(embeds, prompt.position_ids, cache))
        torch.testing.assert_close(found[visible], expected[visible], rtol=0, atol=1e-4)
