"""Key maps: complete, both ways, for the released models, and invertible in general."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core.checkpoints.keymap import KeyMap, Rule
from janus_nodes.janus_core.checkpoints.layouts import ORIGINAL, TRANSFORMERS, Layout
from janus_nodes.janus_core.models.janus import Janus
from support.checkpoints import small_config

CONFIG = small_config()


def meta_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's parameters, without memory for them."""
    with torch.device("meta"):
        model = Janus(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("release", ["Janus-Pro-1B", "Janus-Pro-7B"])
def test_released_checkpoints_map_completely_both_ways(golden_root: Path, release: str) -> None:
    folder = golden_root / "real_configs"
    config = ORIGINAL.read_config(json.loads((folder / f"{release}.config.json").read_text(encoding="utf-8")))
    keys = json.loads((folder / f"{release}.keys.json").read_text(encoding="utf-8"))
    shapes = meta_shapes(config)
    found = ORIGINAL.key_map.expected_tensors(config, shapes)
    unused = {name for name in keys if ORIGINAL.key_map.drops(name)}
    assert found.keys() == keys.keys() - unused
    assert all("attn_pool" in name or name.endswith("codebook_used") for name in unused)
    for name, part in found.items():
        assert list(part.source_shape) == keys[name], name
    filled = dict.fromkeys(shapes, 0)
    for part in found.values():
        assert part.start == filled[part.parameter]
        assert part.shape[1:] == shapes[part.parameter][1:]
        filled[part.parameter] = part.end
    assert filled == {name: shape[0] for name, shape in shapes.items()}


def test_released_sizes_are_read_from_configs_that_leave_most_out(golden_root: Path) -> None:
    def config(release: str) -> Any:
        file = golden_root / "real_configs" / f"{release}.config.json"
        return ORIGINAL.read_config(json.loads(file.read_text(encoding="utf-8")))

    small, large = config("Janus-Pro-1B"), config("Janus-Pro-7B")
    assert (small.body.hidden_size, small.body.num_attention_heads, small.body.head_dim) == (2048, 16, 128)
    assert (large.body.hidden_size, large.body.num_attention_heads, large.body.head_dim) == (4096, 32, 128)
    assert large.body.num_key_value_heads == 32
    assert (large.body.intermediate_size, large.body.num_hidden_layers) == (11008, 30)
    for body in (small.body, large.body):
        assert (body.rms_norm_eps, body.rope_theta) == (1e-6, 10000.0)
        assert (body.vocab_size, body.max_position_embeddings) == (102400, 16384)
    for model in (small, large):
        vision, generation = model.understanding.vision, model.generation
        assert (vision.num_positions, vision.num_hidden_layers, vision.layer_norm_eps) == (576, 24, 1e-6)
        assert (generation.num_tokens, generation.vq.codebook_size, generation.vq.codebook_dim) == (
            576,
            16384,
            8,
        )


@pytest.mark.parametrize("layout", [ORIGINAL, TRANSFORMERS], ids=lambda layout: layout.key_map.name)
def test_every_part_of_every_parameter_has_exactly_one_source(layout: Layout) -> None:
    shapes = meta_shapes(CONFIG)
    filled = {name: torch.zeros(shape[0], dtype=torch.long) for name, shape in shapes.items()}
    for part in layout.key_map.expected_tensors(CONFIG, shapes).values():
        filled[part.parameter][part.start : part.end] += 1
    for name, times in filled.items():
        assert times.tolist() == [1] * len(times), name


def test_grouped_heads_share_a_parameter_by_their_number() -> None:
    found = ORIGINAL.key_map.expected_tensors(CONFIG, meta_shapes(CONFIG))
    prefix = "language_model.model.layers.2.self_attn"
    parts = [found[f"{prefix}.{name}_proj.weight"] for name in "qkv"]
    assert [(part.start, part.shape[0]) for part in parts] == [(0, 60), (60, 12), (72, 12)]


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("gen_vision_model.quantize.codebook_used", True),
        ("vision_model.vision_tower.attn_pool.q.weight", True),
        ("vision_model.vision_tower.norm.weight", False),
        ("language_model.model.layers.0.self_attn.rotary_emb.inv_freq", True),
        ("some_other.attn_pool.q.weight", False),
    ],
)
def test_only_what_is_listed_is_dropped(name: str, dropped: bool) -> None:
    assert ORIGINAL.key_map.drops(name) is dropped


def test_a_parameter_without_a_rule_is_an_error_in_the_table() -> None:
    key_map = KeyMap("short", (Rule(("a",), "body.a"),), {}, {})
    with pytest.raises(KeyError, match=r"no rule of the 'short' key map fills parameter 'body\.b'"):
        key_map.expected_tensors(CONFIG, {"body.a": (3,), "body.b": (3,)})


def test_a_dot_in_a_pattern_matches_only_a_dot() -> None:
    key_map = KeyMap("x", (Rule(("in.#.*",), "out.#.*"),), {}, {})
    found = key_map.expected_tensors(CONFIG, {"out.12.weight": (3, 4)})
    assert [(name, part.parameter, part.shape) for name, part in found.items()] == [
        ("in.12.weight", "out.12.weight", (3, 4))
    ]
    with pytest.raises(KeyError):
        key_map.expected_tensors(CONFIG, {"outx12.weight": (3,)})
