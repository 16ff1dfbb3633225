"""Cleans up tensor names that trainers save: removes their prefixes, and ignores tensors of training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from .keymap import matches
from .reading import TensorInfo

_log = logging.getLogger(__name__)

# Wrapper modules of PyTorch and trainers, which can also occur in the middle of a name. No layout has such
# names.
TRAINER_WRAPPERS = (
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
)

# Prefixes of copies that trainers keep of the weights; the trained weights are used instead of them.
_COPIES = ("ema.", "ema_model.", "model_ema.", "ref_model.", "reference_model.", "teacher.", "old_model.")

# Tensors that may be ignored in any layout, with the reason. Any other unknown tensor may belong to another
# architecture and is refused.
HARMLESS = {
    "*.rotary_emb.*": "rotary frequencies and tables, computed from the positions",
    "*.position_ids": "the numbers 0, 1, 2, …",
    "*.v_head.*": "a value head of reinforcement learning",
    "*.value_head.*": "a value head of reinforcement learning",
    "*.reward_head.*": "a reward head of reinforcement learning",
    "*.critic.*": "a value model of reinforcement learning",
    "*.logit_scale": "SigLIP's contrastive loss",
    "*.logit_bias": "SigLIP's contrastive loss",
    "*.loss.*": "a loss with weights",
    "*.discriminator.*": "the discriminator of the image tokenizer's training",
    "*.codebook_used": "a usage counter from the tokenizer's training",
    "*.num_batches_tracked": "a counter of batches",
    "*.total_ops": "a profiler's counter",
    "*.total_params": "a profiler's counter",
    "*._extra_state": "the state of a training library",
    "*.global_step": "a counter of steps",
}


def is_harmless(name: str) -> bool:
    """Whether a tensor that no layout expects may be left out."""
    # The added part matches the leading `*.` of the patterns for names at the top level.
    return name.startswith(_COPIES) or any(matches(pattern, f"model.{name}") for pattern in HARMLESS)


def without_prefixes(
    folder: Path, infos: dict[str, TensorInfo], required: Collection[str]
) -> dict[str, TensorInfo]:
    """Removes a trainer's prefix from tensor names, so that they are those of the layout.

    A prefix is removed only if all required tensors have it; tensors without it keep their names.

    Args:
        folder: for the log and errors.
        infos: tensors by the names in their files.
        required: names that the layout needs.

    Raises:
        ValueError: if tensors under several prefixes are complete, or two tensors get the same name.
    """
    if all(name in infos for name in required):
        return infos
    names = {name: _without_wrappers(name) for name in infos}
    prefix = _find_prefix(folder, names.values(), required)
    renamed: dict[str, TensorInfo] = {}
    for name, plain in names.items():
        plain = plain.removeprefix(prefix)
        if plain in renamed:
            twice = f"{renamed[plain].name} and {name}"
            raise ValueError(f"{folder} must hold each tensor once, got {twice}; remove one of them")
        renamed[plain] = infos[name]
    changed = next((name for name in infos if name not in renamed), None)
    if changed is not None and all(name in renamed for name in required):
        _log.warning("%s: names of tensors are used without a trainer's prefix, as in %s", folder, changed)
    return renamed


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in TRAINER_WRAPPERS)


def _find_prefix(folder: Path, names: Collection[str], required: Collection[str]) -> str:
    """Returns the prefix of all required names or, for a better error message, of more than half of them."""
    counts: Counter[str] = Counter()
    wanted = set(required)
    for name in names:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                counts[".".join([*parts[:start], ""])] += 1
    complete = [prefix for prefix, count in counts.items() if count == len(wanted)]
    trained = [prefix for prefix in complete if prefix not in _COPIES] or complete
    if "" in trained:
        return ""
    if len(trained) > 1:
        raise ValueError(
            f"{folder} must hold the weights of one model, got several, named {', '.join(sorted(trained))}…; "
            "keep one of them"
        )
    if trained:
        return trained[0]
    prefix, count = counts.most_common(1)[0] if counts else ("", 0)
    return prefix if count > len(wanted) / 2 else ""
