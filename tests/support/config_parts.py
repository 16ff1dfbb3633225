"""Entries of config.json that several layouts have, for `config_entries`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus_nodes.janus_core.checkpoints.layouts.sections import Section

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

Json = dict[str, Any]


@dataclass(frozen=True)
class Entries:
    """The entries of one layout's config.json, each by the names that lead to it, with dots between.

    Attributes:
        content: a config.json of a tiny model.
        read: what reads its content.
        sections: the tables that it reads by.
        followed: entries with another value, which gives another model.
        refused: entries with another value, which is refused by the entry's name: it is not supported, or at
            odds with another entry.
        without_effect: entries that inference does not depend on, each with the reason.
    """

    content: Json
    read: Callable[[Json], object]
    sections: tuple[Section, ...]
    followed: Json
    refused: Json
    without_effect: dict[str, str]


def read_json(path: str) -> Json:
    """The content of a JSON file among the golden ones."""
    content: Json = json.loads((GOLDEN / path).read_text(encoding="utf-8"))
    return content


def with_prefix(prefix: str, entries: dict[str, Any]) -> dict[str, Any]:
    """The entries of a section, as those of the whole file."""
    return {f"{prefix}.{key}": value for key, value in entries.items()}


def names(section: Json, prefix: str = "") -> Iterator[str]:
    """The names of all entries of a config.json."""
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from names(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


CLASS_NAME = "names the class, which is always the same one"
METADATA = {
    "architectures": CLASS_NAME,
    "torch_dtype": "the caller chooses the dtype",
    "dtype": "the caller chooses the dtype",
    "transformers_version": "tells which version wrote the file",
    "_name_or_path": "tells where the file is from; `metadata` reads it for the role texts",
    **dict.fromkeys(
        ("is_encoder_decoder", "output_attentions", "output_hidden_states", "return_dict", "problem_type"),
        "describes calls of transformers' classes",
    ),
    "chunk_size_feed_forward": "an order of computation",
}
TRAINING = "matters in training only"
GENERATION = "a default of transformers' `generate`; tokens are found by their text"


def llama(path: str) -> tuple[Json, Json, dict[str, str]]:
    """Entries of a language model of width 64."""
    followed = {
        "vocab_size": 500,
        "intermediate_size": 160,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5000.0,
        "max_position_embeddings": 512,
        "rope_parameters.rope_theta": 5000,
        "rope_scaling.rope_theta": 5000.0,
    }
    refused = {
        "hidden_size": 128,
        "model_type": "qwen2",
        "hidden_act": "gelu",
        "attention_bias": True,
        "mlp_bias": True,
        "partial_rotary_factor": 0.5,
        "per_layer_config": {"0": {"head_dim": 8}},
        "rope_parameters.rope_type": "llama3",
        "rope_parameters.partial_rotary_factor": 0.5,
        "rope_scaling.rope_type": "yarn",
        "rope_scaling.type": "linear",
        "rope_scaling.partial_rotary_factor": 0.5,
    }
    without_effect = {
        **METADATA,
        "attention_dropout": TRAINING,
        "initializer_range": TRAINING,
        "use_cache": "an order of computation",
        "pretraining_tp": "an order of computation",
        "pad_token_id": GENERATION,
        "bos_token_id": GENERATION,
        "eos_token_id": GENERATION,
        "rope_parameters.factor": "that of a scaling, which is refused",
        "rope_scaling.factor": "that of a scaling, which is refused",
    }
    return (with_prefix(path, followed), with_prefix(path, refused), with_prefix(path, without_effect))


def tower(path: str, **followed: Any) -> tuple[Json, Json, dict[str, str]]:
    """Entries of a vision tower of width 48 in the layouts of deepseek-ai."""
    followed = {
        "image_size": 96,
        "select_layer": -2,
        # Not the reference's: it has the sizes by the name.
        "layers": 3,
        "heads": 4,
        "mlp_ratio": 2,
        "patch_size": 8,
        "layer_norm_eps": 1e-5,
        **followed,
    }
    refused = {
        "model_name": "siglip_large_patch16_384",
        "select_feature": "patch",
        "ignore_head": False,
        "pixel_mean": [0.5, 0.5, 0.5],
        "pixel_std": [0.5, 0.5, 0.5],
    }
    without_effect = {
        "select_layers": "the reference keeps it and does not use it",
        "ckpt_path": "of weights that the checkpoint's replace",
        "weight_init": TRAINING,
    }
    return (
        with_prefix(f"{path}.params", followed),
        {f"{path}.cls": "HybridVisionTower", **with_prefix(f"{path}.params", refused)},
        {f"{path}.model_type": CLASS_NAME, **with_prefix(f"{path}.params", without_effect)},
    )
