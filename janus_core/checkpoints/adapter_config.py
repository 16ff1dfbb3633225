"""Reads `adapter_config.json`, which PEFT writes beside the weights of a LoRA adapter."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# Entries that do not change what an adapter computes: its origin, how it was trained, and the modules it was
# made for, which the tensor names give as well.
_INFORMATIVE = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("lora_dropout", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config"),
    *("megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying"),
    *("lora_dtype", "lorap_lr_ratio", "lorap_emb_lr"),  # of ms-swift
}

# Entries that `Scaling` reads.
_SCALING = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"}

# Ways to initialize an adapter that leave the checkpoint's own weights as they are. Others, such as PiSSA,
# subtract the initial adapter from them.
_INITIALIZATIONS = (None, True, False, "gaussian", "eva", "orthogonal")

_NEUTRAL: tuple[Any, ...] = (None, False, "none", "", [], {})


@dataclass(frozen=True)
class Scaling:
    """Rank and factor of an adapter's modules (LoRA, arXiv:2106.09685; rsLoRA, arXiv:2312.03732).

    Attributes:
        r: rank of modules without an entry of their own.
        lora_alpha: the factor is this number divided by the rank or, with `use_rslora`, by its square root.
        use_rslora: whether the factor follows rsLoRA.
        rank_pattern: ranks by regular expression for the last parts of a module's name.
        alpha_pattern: likewise for `lora_alpha`.
    """

    r: int
    lora_alpha: float
    use_rslora: bool = False
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)

    def rank(self, module: str) -> int:
        """Returns the rank of a module, given its name in the model that was trained."""
        return int(_by_pattern(self.rank_pattern, module, self.r))

    def factor(self, module: str) -> float:
        """Returns the factor by which a module's `lora_B @ lora_A` is multiplied."""
        rank = self.rank(module)
        return _by_pattern(self.alpha_pattern, module, self.lora_alpha) / (
            math.sqrt(rank) if self.use_rslora else rank
        )


def read_scaling(source: Path, config: Json) -> Scaling:
    """Validates the content of an `adapter_config.json` and returns its ranks and factors.

    Args:
        source: where the config was found, for error messages.
        config: its content.

    Raises:
        ValueError: if an entry is invalid, or asks for anything but plain LoRA.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueError(
            f"peft_type in {source} must be LORA, got {kind!r}; no other kind of adapter is supported"
        )
    if config.get("use_dora"):
        raise ValueError(
            f"use_dora in {source} must be false, got true; DoRA adapters are not supported, merge it into "
            "its checkpoint with peft first"
        )
    start = config.get("init_lora_weights", True)
    if start not in _INITIALIZATIONS:
        raise ValueError(
            f"init_lora_weights in {source} must leave the checkpoint's weights as they are, got {start!r}; "
            "convert the adapter to plain LoRA with peft first"
        )
    for name, value in config.items():
        known = _INFORMATIVE | _SCALING | {"peft_type", "use_dora", "init_lora_weights"}
        if name not in known and value not in _NEUTRAL:
            raise ValueError(
                f"{name} in {source} must be unset, got {value!r}; it is not supported, merge the adapter "
                "into its checkpoint with peft first"
            )
    return _scaling(source, config)


def _scaling(source: Path, config: Json) -> Scaling:
    values = {name: config[name] for name in _SCALING if config.get(name) is not None}
    numbers = [values.get("r"), values.get("lora_alpha")]
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = values.get(name, {})
        numbers += pattern.values() if isinstance(pattern, dict) else [pattern]
    if not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
        for value in numbers
    ):
        found = {name: values.get(name) for name in ("r", "lora_alpha", "rank_pattern", "alpha_pattern")}
        raise ValueError(
            f"r, lora_alpha and their patterns in {source} must be numbers above 0, got {json.dumps(found)}; "
            "use the config that was saved with the adapter"
        )
    for pattern in (*values.get("rank_pattern", {}), *values.get("alpha_pattern", {})):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"patterns in {source} must be regular expressions, got {pattern!r}: {error}; use the config "
                "that was saved with the adapter"
            ) from error
    return Scaling(**values)


def _by_pattern(values: dict[str, Any], module: str, default: float) -> float:
    """Returns the value of the first pattern that matches the last parts of a module's name, as PEFT does."""
    found = (value for key, value in values.items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, default)
