"""Key maps: complete, both ways, for the released models, and invertible in general."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core.checkpoints.configs import from_original
from janus_nodes.janus_core.checkpoints.keymap import Layout, Rule, is_dropped, places
from janus_nodes.janus_core.checkpoints.keymaps import ORIGINAL, TRANSFORMERS
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
    config = from_original(json.loads((folder / f"{release}.config.json").read_text(encoding="utf-8")))
    keys = json.loads((folder / f"{release}.keys.json").read_text(encoding="utf-8"))
    shapes = meta_shapes(config)
    found = places(ORIGINAL, config, shapes)
    unused = {name for name in keys if is_dropped(ORIGINAL, name)}
    assert found.keys() == keys.keys() - unused
    assert all("attn_pool" in name or name.endswith("codebook_used") for name in unused)
    for name, place in found.items():
        assert list(place.source_shape(shapes[place.target])) == keys[name], name
    rows = dict.fromkeys(shapes, 0)
    for place in found.values():
        assert place.start == rows[place.target]
        rows[place.target] += place.length
    assert rows == {name: shape[0] for name, shape in shapes.items()}


def test_released_sizes_are_read_from_configs_that_leave_most_out(golden_root: Path) -> None:
    def config(release: str) -> Any:
        file = golden_root / "real_configs" / f"{release}.config.json"
        return from_original(json.loads(file.read_text(encoding="utf-8")))

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


@pytest.mark.parametrize("layout", [ORIGINAL, TRANSFORMERS], ids=lambda layout: layout.name)
def test_every_row_of_every_parameter_has_exactly_one_source(layout: Layout) -> None:
    shapes = meta_shapes(CONFIG)
    filled = {name: torch.zeros(shape[0], dtype=torch.long) for name, shape in shapes.items()}
    for place in places(layout, CONFIG, shapes).values():
        filled[place.target][place.start : place.start + place.length] += 1
    for name, rows in filled.items():
        assert rows.tolist() == [1] * len(rows), name


def test_grouped_heads_share_a_parameter_by_their_number() -> None:
    found = places(ORIGINAL, CONFIG, meta_shapes(CONFIG))
    prefix = "language_model.model.layers.2.self_attn"
    lengths = [found[f"{prefix}.{name}_proj.weight"] for name in "qkv"]
    assert [(place.start, place.length) for place in lengths] == [(0, 60), (60, 12), (72, 12)]


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
    assert is_dropped(ORIGINAL, name) is dropped


def test_a_parameter_without_a_rule_is_an_error_in_the_table() -> None:
    layout = Layout("short", (Rule(("a",), "body.a"),), {})
    with pytest.raises(KeyError, match=r"no rule of layout 'short' makes parameter 'body\.b'"):
        places(layout, CONFIG, {"body.a": (3,), "body.b": (3,)})


def test_patterns_are_taken_by_the_letter() -> None:
    layout = Layout("x", (Rule(("in.#.*",), "out.#.*"),), {})
    found = places(layout, CONFIG, {"out.12.weight": (3, 4)})
    assert [(name, place.target, place.length) for name, place in found.items()] == [
        ("in.12.weight", "out.12.weight", 3)
    ]
    with pytest.raises(KeyError):
        places(layout, CONFIG, {"outx12.weight": (3,)})
