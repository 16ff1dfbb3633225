"""Writes LoRA adapters in PEFT's format, with the names of the original layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..config import JanusConfig
from ..file_io import write_atomically
from .adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from .layouts import LAYOUTS
from .layouts.vae import VAE_PREFIX
from .on_meta import build_on_meta, parameter_shapes

SavedMatrices = Mapping[str, tuple[Tensor, Tensor]]
"""By parameter, the matrices A [r, in] and B [out, r]; a multiple of `B @ A` is added to the parameter."""


def save_adapter(
    folder: Path, config: JanusConfig, matrices: SavedMatrices, rank: int, alpha: float, base: str
) -> None:
    """Writes an adapter of a model.

    A parameter that a checkpoint stores as several tensors, such as a fused projection, is saved as several
    modules: they share matrix A, and each has its rows of matrix B.

    Args:
        folder: where to write; files of an earlier adapter are replaced.
        config: of the model.
        matrices: to save; the files hold float32.
        rank: r, the same for all of them.
        alpha: `B @ A` is multiplied by alpha / r.
        base: the name of the checkpoint.
    """
    shapes = parameter_shapes(build_on_meta(config))
    # A VAE has files of its own, with names that no layout has.
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(VAE_PREFIX)}
    layout = next(layout for layout in LAYOUTS if layout.write_config and layout.key_map.covers(shapes))
    tensors: dict[str, Tensor] = {}
    modules = set()
    for name, part in layout.key_map.expected_tensors(config, shapes).items():
        if part.parameter in matrices:
            down, up = matrices[part.parameter]
            module = name.removesuffix(".weight")
            modules.add(module.rpartition(".")[2])
            for matrix, values in (("lora_A", down), ("lora_B", up[part.start : part.end])):
                saved = values.detach().to("cpu", torch.float32, copy=True).contiguous()
                tensors[f"base_model.model.{module}.{matrix}.weight"] = saved
    entries = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"}
    write_atomically(folder / ADAPTER_WEIGHTS[0], lambda file: save_file(tensors, file, metadata=metadata))
    # Last, so that an interrupted save is never mistaken for a complete adapter.
    write_atomically(folder / ADAPTER_CONFIG, json.dumps(entries, indent=2).encode())
