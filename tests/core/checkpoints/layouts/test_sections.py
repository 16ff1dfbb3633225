"""Each entry of config.json, changed alone, gives another model or an error with its name."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.checkpoints.layouts import LAYOUTS, Layout
from janus_nodes.janus_core.checkpoints.layouts.sections import Fixed, Followed
from support.checkpoints import GOLDEN, copy_checkpoint, edit_json
from support.config_entries import ENTRIES
from support.config_parts import Entries, Json, names, read_json


def changed(content: Json, path: str, value: Any) -> Json:
    """A copy of a config.json's content with one entry changed."""
    content = copy.deepcopy(content)
    *parts, key = path.split(".")
    section = content
    for name in parts:
        section = section.setdefault(name, {})
    section[key] = value
    return content


def rows(entries: Entries, kind: type) -> Iterator[str]:
    """The names of all entries that the layout's tables have, of one kind."""
    for section in entries.sections:
        for key, row in section.entries.items():
            if isinstance(row, kind):
                yield f"{section.path}.{key}" if section.path else key


CASES = [
    pytest.param(entries, path, value, id=f"{layout}-{path}")
    for layout, entries in ENTRIES.items()
    for path, value in (entries.followed | entries.refused).items()
]


@pytest.mark.parametrize(("entries", "path", "value"), CASES)
def test_an_entry_gives_another_model_or_an_error_with_its_name(
    entries: Entries, path: str, value: Any
) -> None:
    content = changed(entries.content, path, value)
    if path in entries.followed:
        assert entries.read(content) != entries.read(entries.content)
        return
    with pytest.raises(ValueError, match=rf"\b{path.rpartition('.')[2]}\b.*\bgot ") as caught:
        entries.read(content)
    shown = value[0] if isinstance(value, list) else value
    assert str(shown) in str(caught.value)


@pytest.mark.parametrize("layout", ENTRIES)
def test_an_entry_without_effect_is_not_read(layout: str) -> None:
    entries = ENTRIES[layout]
    for path, reason in entries.without_effect.items():
        assert reason
        content = changed(entries.content, path, "anything else")
        assert entries.read(content) == entries.read(entries.content), path


@pytest.mark.parametrize("layout", ENTRIES)
def test_the_tables_have_every_entry(layout: str) -> None:
    entries = ENTRIES[layout]
    read = entries.followed.keys() | entries.refused.keys()
    assert not read & entries.without_effect.keys()
    assert set(rows(entries, Followed)) <= read
    assert set(rows(entries, Fixed)) <= entries.refused.keys()
    assert set(names(entries.content)) <= read | entries.without_effect.keys()


@pytest.mark.parametrize("release", ["Janus-Pro-1B", "Janus-Pro-7B", "JanusFlow-1.3B"])
def test_the_released_configs_have_no_other_entries(release: str) -> None:
    content = read_json(f"real_configs/{release}.config.json")
    layout = next(layout for layout in LAYOUTS if layout.describes(content))
    entries = next(entries for entries in ENTRIES.values() if entries.sections is layout.sections)
    known = entries.followed.keys() | entries.refused.keys() | entries.without_effect.keys()
    assert set(names(content)) <= known
    layout.read_config(content)


@pytest.mark.parametrize("layout", ENTRIES)
def test_an_entry_of_the_wrong_type_is_named_with_its_value(layout: str) -> None:
    entries = ENTRIES[layout]
    for section in entries.sections:
        for key, row in section.entries.items():
            if not isinstance(row, Followed):
                continue
            path = f"{section.path}.{key}" if section.path else key
            for value in unusable(row):
                message = rf"^{re.escape(path)} must .*, got {re.escape(repr(value))};"
                with pytest.raises(ValueError, match=message):
                    entries.read(changed(entries.content, path, value))


def unusable(row: Followed) -> list[Any]:
    """Values that an entry cannot have."""
    wrong: list[Any] = [{"a": 1}]
    wrong += [None] if row.default is not None else []
    if row.kind is not str:
        wrong += ["64"]
    if row.kind in (int, float):
        wrong += [True, [64], 10**400]
        wrong += [] if row.signed else [0, -3]
        wrong += [1.5] if row.kind is int else [float("nan"), float("inf")]
    if row.kind is bool:
        wrong += [1, 0.0]
    if row.kind == tuple[int, ...]:
        wrong += [[], 3, [1, 2.5], [1, 0], ["1"], [True]]
    return wrong


@pytest.mark.parametrize("layout", ["original", "flow", "transformers"])
@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_section_that_is_no_object_is_named(layout: str, value: object) -> None:
    entries = ENTRIES[layout]
    for section in entries.sections:
        if section.path and not (section.optional and value is None):
            message = rf"^{re.escape(section.path.split('.')[0])}.* must be an object, got "
            with pytest.raises(ValueError, match=message):
                entries.read(changed(entries.content, section.path, value))


@pytest.mark.parametrize(
    ("golden", "path", "value"),
    [
        ("janusflow-tiny", "vision_gen_dec_config.params.in_channels", 64),
        ("janusflow-tiny", "vision_gen_dec_config.params.upsamples", 2),
        ("janus-pro-tiny", "language_config.attention_bias", True),
    ],
)
def test_an_entry_is_blamed_and_not_the_weights(
    tmp_path: Path, golden: str, path: str, value: object
) -> None:
    folder = copy_checkpoint(golden, tmp_path / "model")
    edit_json(folder / "config.json", lambda content: content.update(changed(content, path, value)))
    with pytest.raises(ValueError, match=rf"config\.json: {re.escape(path)} must be .*, got {value}"):
        load_pipeline(folder)


# Defaults of the reference's classes: CLIPVisionTower, MlpProjector, ShallowUViTEncoder and -Decoder, and
# diffusers' AutoencoderKL. Those of transformers are in `test_oracle`.
DEFAULTS: dict[str, dict[str, Json]] = {
    "original": {
        "vision_config.params": {
            "model_name": "siglip_large_patch16_384",
            "image_size": 336,
            "select_layer": -2,
        },
        "aligner_config.params": {"depth": 1},
        "gen_aligner_config.params": {"depth": 1},
    },
    "flow": {
        "vision_gen_enc_config.params": {
            "input_channels": 3,
            "stride": 4,
            "kernel_size": 7,
            "block_out_channels": (768,),
            "layers_in_middle": 2,
            "hidden_size": 2048,
            "elementwise_affine": True,
            "use_bias": True,
            "norm_eps": 1e-6,
            "use_mid_block": True,
        },
        "vision_gen_dec_config.params": {"in_channels": 768, "out_channels": 3, "upsamples": 2},
    },
    "vae": {
        "": {
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": (64,),
            "layers_per_block": 1,
            "act_fn": "silu",
            "latent_channels": 4,
            "norm_num_groups": 32,
            "scaling_factor": 0.18215,
            "use_quant_conv": True,
            "mid_block_add_attention": True,
        }
    },
}


@pytest.mark.parametrize("layout", DEFAULTS)
def test_absent_entries_take_the_defaults_of_the_reference(layout: str) -> None:
    sections = {section.path: section.entries for section in ENTRIES[layout].sections}
    for path, defaults in DEFAULTS[layout].items():
        for key, default in defaults.items():
            assert sections[path][key].default == default, key


def test_defaults_that_are_not_supported_are_named() -> None:
    content = copy.deepcopy(ENTRIES["flow"].content)
    del content["vision_gen_dec_config"]["params"]["upsamples"]
    with pytest.raises(ValueError, match=r"upsamples must be 1 for the encoder's stride 2, got 2; "):
        ENTRIES["flow"].read(content)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_stride_that_no_upsamples_undo_is_named(stride: int) -> None:
    content = copy.deepcopy(ENTRIES["flow"].content)
    content["vision_gen_enc_config"]["params"] |= {"stride": stride, "kernel_size": stride}
    with pytest.raises(ValueError, match=rf"params\.stride must be a power of 2, at least 2, got {stride}; "):
        ENTRIES["flow"].read(content)


SIZES = [
    pytest.param(golden, path, value, id=path)
    for golden, layout in (("janus-pro-tiny", "original"), ("janusflow-tiny", "flow"))
    for path, value in ENTRIES[layout].followed.items()
    if not path.endswith("tie_word_embeddings")  # not followed if the weights are not tied
]


@pytest.mark.slow
@pytest.mark.parametrize(("golden", "path", "value"), SIZES)
def test_a_size_that_the_weights_do_not_have_is_named(
    tmp_path: Path, golden: str, path: str, value: object
) -> None:
    folder = copy_checkpoint(golden, tmp_path / "model")
    edit_json(folder / "config.json", lambda content: content.update(changed(content, path, value)))
    try:
        loaded = load_pipeline(folder).model.config
    except ValueError as error:
        key = path.rpartition(".")[2]
        assert re.search(rf"\b{key}\b", str(error)) and "config.json" in str(error), str(error)
    else:
        assert loaded != load_pipeline(GOLDEN / golden).model.config


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.write_config is not None])
def test_what_is_written_is_in_the_tables_and_reads_the_same(layout: Layout) -> None:
    entries = next(entries for entries in ENTRIES.values() if entries.sections is layout.sections)
    known = entries.followed.keys() | entries.refused.keys() | entries.without_effect.keys()
    assert layout.write_config is not None
    for path in ("", *entries.followed):
        content = changed(entries.content, path, entries.followed[path]) if path else entries.content
        config = layout.read_config(content)
        written = json.loads(json.dumps(layout.write_config(config, "float32")))
        assert set(names(written)) <= known
        assert layout.read_config(written) == config, path
