"""Recognizing a checkpoint by its config.json, and errors of a config.json that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.checkpoints.layouts import detect_layout
from support.checkpoints import PROCESSOR_FILES, copy_checkpoint, edit_json

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint."""
    return copy_checkpoint("janus-pro-tiny", tmp_path / "model")


def test_a_config_of_another_model_is_named(folder: Path) -> None:
    config = {"model_type": "llava", "vision_config": {}, "text_config": {}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    expected = r"got model_type 'llava' with vision_config, text_config; choose a Janus-1\.3B, Janus-Pro or"
    with pytest.raises(ValueError, match=expected):
        load_pipeline(folder)


def test_a_config_of_another_way_of_drawing_does_not_fit_the_weights(folder: Path, golden_root: Path) -> None:
    config = (golden_root / "real_configs" / "JanusFlow-1.3B.config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config, encoding="utf-8")
    for name in PROCESSOR_FILES:  # whose sizes would be found wrong first
        (folder / name).unlink()
    with pytest.raises(
        ValueError, match=r"missing: beg_of_und_embed, .*; .* unknown: aligner\.layers\.0\.bias"
    ):
        load_pipeline(folder)


@pytest.mark.parametrize("text", ["", "{", "not json", "\x00\x01"])
def test_a_broken_config_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json must be JSON, got: .*; download it again"):
        load_pipeline(folder)


@pytest.mark.parametrize("content", [[], "text", 3, None])
def test_a_config_that_is_no_object_is_named(folder: Path, content: object) -> None:
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"config\.json must hold a JSON object, got a \w+; download it again"
    ):
        load_pipeline(folder)


def test_a_config_that_is_no_text_is_named(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ValueError, match=r"config\.json must be JSON, got: "):
        load_pipeline(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config.pop("aligner_config"),
        lambda config: config.update(language_config=None),
        lambda config: config.update(language_config=[1]),
        lambda config: config.update(gen_head_config="text"),
        lambda config: config["vision_config"].pop("params"),
        lambda config: config["language_config"].update(hidden_size="64"),
        lambda config: config["language_config"].update(num_attention_heads=0),
        lambda config: config["gen_vision_config"]["params"].update(ch_mult=2),
        lambda config: config["gen_vision_config"]["params"].update(ch_mult=[]),
    ],
    ids=range(9),
)
def test_missing_or_unusable_entries_are_an_error_of_the_file(folder: Path, edit: Edit) -> None:
    edit_json(folder / "config.json", edit)
    with pytest.raises(
        ValueError,
        match=r"config\.json: .* must (be|hold) .*, got .*; .* not describe a model",
    ):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda config: config["vision_config"]["params"].pop("width"),
            r"model_name must be a known tower .* got 'siglip_tiny_patch16_64' without width",
        ),
        (
            lambda config: config["vision_config"]["params"].update(select_feature="patch"),
            "select_feature must be 'same', got 'patch'",
        ),
        (
            lambda config: config["aligner_config"]["params"].update(projector_type="linear"),
            "projector_type must be 'mlp_gelu', got 'linear'",
        ),
        (
            lambda config: config["gen_vision_config"].update(cls="VQ-8"),
            r"gen_vision_config\.cls must be 'VQ-16', got 'VQ-8'",
        ),
        (
            lambda config: config["language_config"].update(hidden_act="gelu"),
            r"language_config\.hidden_act must be 'silu' or 'swish', got 'gelu'",
        ),
        (
            lambda config: config["language_config"].update(rope_scaling={"type": "linear", "factor": 2}),
            r"language_config\.rope_scaling\.type must be 'default', got 'linear'",
        ),
        (
            lambda config: config["aligner_config"]["params"].update(n_embed=32),
            r"aligner_config\.params\.n_embed must be language_config\.hidden_size 64, got 32",
        ),
        (
            lambda config: config["gen_head_config"]["params"].update(image_token_size=99),
            r"gen_head_config\.params\.image_token_size must be .*\.image_token_size 128, got 99",
        ),
        (
            lambda config: config["language_config"].update(num_key_value_heads=3),
            "num_attention_heads must be a multiple of num_key_value_heads 3, got 4",
        ),
        (
            lambda config: config["language_config"].update(num_hidden_layers=0),
            r"num_hidden_layers must be positive, got 0",
        ),
        (
            lambda config: config["vision_config"]["params"].update(image_size=70),
            "image_size must be a multiple of the tokenizer's 16 pixels per token, got 70",
        ),
        (
            lambda config: config["gen_vision_config"]["params"].update(ch=48),
            "VQ channels must be multiples of the 32 normalisation groups .*, got ch .* 48 times",
        ),
    ],
    ids=range(12),
)
def test_sizes_that_do_not_fit_are_named(folder: Path, edit: Edit, message: str) -> None:
    edit_json(folder / "config.json", edit)
    with pytest.raises(ValueError, match=message):
        detect_layout(folder)


def test_a_tower_known_by_name_needs_no_sizes(folder: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        params = {"model_name": "siglip_large_patch16_384", "image_size": 384, "select_layer": -1}
        config["vision_config"]["params"] = params
        config["aligner_config"]["params"]["input_dim"] = 1024

    edit_json(folder / "config.json", edit)
    vision = detect_layout(folder)[1].understanding.vision
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_positions) == (1024, 24, 576)


@pytest.mark.parametrize(("layer", "kept"), [(-1, 2), (-2, 1), (0, 2), (1, 1), (7, 2)])
def test_a_tower_may_be_cut_at_a_layer(folder: Path, layer: int, kept: int) -> None:
    edit_json(
        folder / "config.json", lambda config: config["vision_config"]["params"].update(select_layer=layer)
    )
    assert detect_layout(folder)[1].understanding.vision.num_hidden_layers == kept
