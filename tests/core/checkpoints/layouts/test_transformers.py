"""The tables of config.json's entries against the config classes of transformers."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from janus_nodes.janus_core.checkpoints.layouts import TRANSFORMERS
from janus_nodes.janus_core.checkpoints.layouts.shared import build_llama, llama_sections
from support.config_entries import ENTRIES
from support.config_parts import names
from transformers import JanusConfig, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig


def test_silent_entries_of_a_config_take_transformers_defaults() -> None:
    classes = (JanusConfig, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig)
    for section, theirs in zip(TRANSFORMERS.sections, classes, strict=False):
        assert section.path in ("", getattr(theirs, "base_config_key", ""), "text_config")
        expected = theirs()
        for key, row in section.entries.items():
            found, default = getattr(expected, key, None), row.default
            if found is not None and default is not None:
                assert found == default, key
    assert LlamaConfig().rope_parameters == {"rope_theta": 10000.0, "rope_type": "default"}


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"rope_theta": 5e3},
        {"rope_theta": 5e3, "rope_parameters": {"rope_type": "default", "rope_theta": 7000}},
        {
            "rope_parameters": {"rope_theta": 7e3},
            "rope_scaling": {"type": "default", "rope_theta": 9e3},
        },
        {
            "rope_theta": 5e3,
            "rope_parameters": {"rope_theta": 7e3},
            "rope_scaling": {"type": "default"},
        },
        {"rope_theta": 5e3, "rope_parameters": {"rope_theta": 7e3}, "rope_scaling": None},
        {"hidden_size": 64, "num_attention_heads": 4, "head_dim": None, "num_key_value_heads": None},
        {"hidden_size": 96, "num_attention_heads": 6, "head_dim": 20, "num_key_value_heads": 2},
    ],
    ids=range(8),
)
def test_entries_of_the_language_model_have_the_precedence_of_transformers(entries: dict[str, Any]) -> None:
    theirs = LlamaConfig(**copy.deepcopy(entries))
    sections = llama_sections("text_config")
    values = {section.path: section.read({"text_config": entries}) for section in sections}
    ours = build_llama(values, "text_config")
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert (ours.head_dim, ours.num_key_value_heads) == (theirs.head_dim, theirs.num_key_value_heads)


def test_the_tables_of_entries_have_all_that_transformers_writes() -> None:
    config = JanusConfig(text_config=LlamaConfig())
    entries = ENTRIES["transformers"]
    known = entries.followed.keys() | entries.refused.keys() | entries.without_effect.keys()
    assert set(names(json.loads(config.to_json_string()))) <= known
