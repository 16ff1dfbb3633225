"""Tables of released models: sizes that their configs omit, role texts, edit forms and download revisions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

# Vision towers by `vision_config.params.model_name`, whose sizes the released configs omit (SigLIP,
# arXiv:2303.15343, table 11). Sizes in a config take precedence.
VISION_TOWERS: dict[str, dict[str, float]] = {
    "siglip_large_patch16_384": {"width": 1024, "layers": 24, "heads": 16, "mlp_ratio": 4, "patch_size": 16},
    "siglip_large_patch16_256": {"width": 1024, "layers": 24, "heads": 16, "mlp_ratio": 4, "patch_size": 16},
    "siglip_base_patch16_384": {"width": 768, "layers": 12, "heads": 12, "mlp_ratio": 4, "patch_size": 16},
    **{
        f"siglip_so400m_patch14_{pixels}": {
            "width": 1152,
            "layers": 27,
            "heads": 16,
            "mlp_ratio": 3.7362,
            "patch_size": 14,
        }
        for pixels in (384, 224)
    },
}

# Image tokenizers by `gen_vision_config.cls`, whose sizes the configs omit (LlamaGen, arXiv:2406.06525,
# section 2.1).
IMAGE_TOKENIZERS: dict[str, dict] = {
    "VQ-16": {
        "ch": 128,
        "ch_mult": (1, 1, 2, 2, 4),
        "num_res_blocks": 2,
        "z_channels": 256,
        "num_groups": 32,
    },
}

# Defaults of transformers' LlamaConfig for keys missing from `language_config`, as most are for Janus-Pro-7B.
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

# Role texts of fine-tunes, by patterns that are searched for in the checkpoint's names, lower-case letters
# and digits only; the first match wins. No file of these checkpoints states the role texts of their training;
# they are from their authors' code.
ROLES_OF_FINE_TUNES: tuple[tuple[str, tuple[str, str]], ...] = (
    ("januspror1", TAGGED_ROLES),
    ("janus4o", TAGGED_ROLES),
    ("reasongenr1", TAGGED_ROLES),
    ("ospojanus", TAGGED_ROLES),
    ("janusfocusdiff", TAGGED_ROLES),
    ("t2ir1", PLAIN_ROLES),
    ("gotr1", PLAIN_ROLES),
    ("janusprocxr", PLAIN_ROLES),
    # STAGE, by its repository and by its folders.
    ("krennicstage|^stage$|^(geneval|hpsgdinogit|ocr)ours$", PLAIN_ROLES),
)

# Role texts of the releases that fine-tunes are made from. There is no Janus of 1B or 7B besides Janus-Pro.
ROLES_OF_RELEASES: tuple[tuple[str, tuple[str, str]], ...] = (
    ("januspro", TAGGED_ROLES),
    ("janusflow", PLAIN_ROLES),
    ("janus13b", PLAIN_ROLES),
    (r"janus.*(?<!\d)[17]b", TAGGED_ROLES),
)

# Edit forms of the checkpoints that edit images by instruction, by the same kind of name; others cannot edit.
EDIT_FORMS_BY_NAME: tuple[tuple[str, str], ...] = (
    ("januspror1", "janus-pro-r1"),
    ("janus4o", "janus-4o"),
)

# How checkpoints think about what they draw, by the same kind of name; others are not trained to.
THINKING_FORMS_BY_NAME: tuple[tuple[str, str], ...] = (
    ("januspror1", "janus-pro-r1"),
    ("reasongenr1", "reasongen-r1"),
    ("t2ir1", "t2i-r1"),
    ("gotr1", "got-r1"),
)

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Release:
    """A checkpoint hosted by its authors, pinned to one revision.

    Attributes:
        name: folder name under `models/janus`.
        repo_id: repository on the Hugging Face Hub.
        revision: commit hash.
        num_bytes: size of the weights.
    """

    name: str
    repo_id: str
    revision: str
    num_bytes: int


RELEASES = {
    name: Release(name, f"deepseek-ai/{name}", revision, num_bytes)
    for name, revision, num_bytes in (
        ("Janus-Pro-1B", "960ab33191f61342a4c60ae74d8dc356a39fafcb", 4_180_000_000),
        ("Janus-Pro-7B", "5c3eb3fb2a3b61094328465ba61fcd4272090d67", 14_840_000_000),
    )
}


def roles_by_name(own: str, config: str = "", around: str = "") -> tuple[tuple[str, str], str] | None:
    """Role texts of a checkpoint with these names, and the name that decides; None if they are unknown.

    The config.json of a fine-tune often still names its base model.

    Args:
        own: name of the checkpoint's folder.
        config: name in its config.json.
        around: name of the folder around it: some repositories hold several checkpoints in folders.
    """
    fine_tunes, releases = ROLES_OF_FINE_TUNES, ROLES_OF_RELEASES
    for table, name in (
        *((fine_tunes, own), (fine_tunes, config), (releases, own)),
        *((fine_tunes, around), (releases, config), (releases, around)),
    ):
        if roles := _by_name(table, [name]):
            return roles, name
    return None


def edit_form_by_name(*names: str) -> str | None:
    """Edit form of the checkpoint that goes by these names; None if it has none or is unknown."""
    return _by_name(EDIT_FORMS_BY_NAME, names)


def thinking_form_by_name(*names: str) -> str | None:
    """Thinking form of the checkpoint that goes by these names; None if it has none or is unknown."""
    return _by_name(THINKING_FORMS_BY_NAME, names)


def _by_name(table: Sequence[tuple[str, Entry]], names: Iterable[str]) -> Entry | None:
    """The entry of the first table row whose pattern is found in any of the names.

    The order of the table decides, not that of the names: a fine-tune's config.json often still names its
    base model.
    """
    normalized = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    for pattern, entry in table:
        if any(re.search(pattern, name) for name in normalized):
            return entry
    return None
