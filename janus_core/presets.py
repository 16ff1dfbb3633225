"""Sizes and facts of released models: one row each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

# `vision_config.params.model_name` names a tower; its sizes are not in the file (SigLIP, arXiv:2303.15343,
# table 11). Checkpoints that do write sizes down override these.
VISION_TOWERS: dict[str, dict[str, int]] = {
    "siglip_large_patch16_384": {"width": 1024, "layers": 24, "heads": 16, "mlp_ratio": 4, "patch_size": 16},
    "siglip_large_patch16_256": {"width": 1024, "layers": 24, "heads": 16, "mlp_ratio": 4, "patch_size": 16},
    "siglip_base_patch16_384": {"width": 768, "layers": 12, "heads": 12, "mlp_ratio": 4, "patch_size": 16},
}

# Sizes that `gen_vision_config` leaves out, by its `cls` (LlamaGen, arXiv:2406.06525, section 2.1).
IMAGE_TOKENIZERS: dict[str, dict] = {
    "VQ-16": {
        "ch": 128,
        "ch_mult": [1, 1, 2, 2, 4],
        "num_res_blocks": 2,
        "z_channels": 256,
        "num_groups": 32,
    },
}

# What transformers' LlamaConfig assumes where `language_config` is silent; Janus-Pro-7B's leaves most to it.
LLAMA_DEFAULTS: dict[str, float] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
}

TAGGED_ROLES = ("<|User|>", "<|Assistant|>")
PLAIN_ROLES = ("User", "Assistant")

# Role texts by what a checkpoint calls itself, letters and digits only; the first row that fits decides. No
# file of the released checkpoints says which text they were trained with.
ROLES_BY_NAME: tuple[tuple[str, tuple[str, str]], ...] = (
    ("januspror1", TAGGED_ROLES),
    ("janus4o", TAGGED_ROLES),
    ("reasongenr1", TAGGED_ROLES),
    ("t2ir1", PLAIN_ROLES),
    ("gotr1", PLAIN_ROLES),
    ("januspro", TAGGED_ROLES),
    ("janusflow", PLAIN_ROLES),
    ("janus13b", PLAIN_ROLES),
)

# How checkpoints edit by instruction, by the same names; the others cannot.
EDIT_FORMS_BY_NAME: tuple[tuple[str, str], ...] = (
    ("januspror1", "janus-pro-r1"),
    ("janus4o", "janus-4o"),
)

Fact = TypeVar("Fact")


@dataclass(frozen=True)
class Release:
    """A checkpoint that its authors host, pinned to the revision that was looked at.

    Attributes:
        name: folder name under `models/janus`.
        repo_id: repository on the Hugging Face Hub.
        revision: commit hash.
        num_bytes: size of its weights.
    """

    name: str
    repo_id: str
    revision: str
    num_bytes: int


RELEASES = {
    release.name: release
    for release in (
        Release(
            "Janus-Pro-1B",
            "deepseek-ai/Janus-Pro-1B",
            "960ab33191f61342a4c60ae74d8dc356a39fafcb",
            4_180_000_000,
        ),
        Release(
            "Janus-Pro-7B",
            "deepseek-ai/Janus-Pro-7B",
            "5c3eb3fb2a3b61094328465ba61fcd4272090d67",
            14_840_000_000,
        ),
    )
}


def roles_by_name(*names: str) -> tuple[str, str] | None:
    """Role texts of the checkpoint with one of these names, or None if they say nothing."""
    return _by_name(ROLES_BY_NAME, names)


def edit_form_by_name(*names: str) -> str | None:
    """How the checkpoint with one of these names edits by instruction, or None if they say nothing."""
    return _by_name(EDIT_FORMS_BY_NAME, names)


def _by_name(table: Sequence[tuple[str, Fact]], names: Iterable[str]) -> Fact | None:
    """The first row of a table that fits one of these names.

    A fine-tune's `config.json` often still names its base: the table's order counts, not the names'.
    """
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    return next((fact for part, fact in table if any(part in name for name in plain)), None)
