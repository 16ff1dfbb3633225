"""Finds and reads the files of a LoRA adapter: a PEFT folder, or a single safetensors file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..file_io import read_json
from .adapter_config import Json, Scaling, read_scaling
from .reading import map_file, read_infos

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

# Metadata entries of a single safetensors file that may hold the adapter's config, as JSON.
_CONFIG_METADATA = ("adapter_config", "lora_adapter_metadata")

_HASHED_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """An adapter as it was saved.

    Attributes:
        path: the folder or file.
        digest: SHA-256 of its files, in hexadecimal.
        scaling: ranks and factors from its config; None if it has none.
        tensors: by name, in main memory and the file's dtypes.
    """

    path: Path
    digest: str
    scaling: Scaling | None
    tensors: dict[str, Tensor]


def read_adapter(path: Path) -> AdapterFile:
    """Reads all of an adapter into memory; it is small compared with a checkpoint.

    Raises:
        FileNotFoundError: if the folder or file is missing or incomplete.
        ValueError: if it is broken, or not plain LoRA.
    """
    weights, config = _find_files(path)
    if config is not None:
        scaling: Scaling | None = read_scaling(config, read_json(config))
    else:
        scaling = _scaling_in_metadata(weights)
    digest = hashlib.sha256()
    for file in (weights, *([config] if config else [])):
        _update(digest, file)
    return AdapterFile(path, digest.hexdigest(), scaling, _read_tensors(weights))


def _find_files(path: Path) -> tuple[Path, Path | None]:
    """The weights of an adapter, and its `adapter_config.json` if it has one."""
    if path.is_file() and path.suffix == ".safetensors":
        config = path.with_name(ADAPTER_CONFIG)
        return path, config if path.name in ADAPTER_WEIGHTS and config.is_file() else None
    if not path.is_dir():
        raise FileNotFoundError(
            f"adapter must be a folder with {ADAPTER_CONFIG} or a .safetensors file, got {path}, which is "
            "neither; check the name"
        )
    config = path / ADAPTER_CONFIG
    weights = [path / name for name in ADAPTER_WEIGHTS if (path / name).is_file()]
    missing = [*([] if config.is_file() else [ADAPTER_CONFIG]), *([] if weights else [ADAPTER_WEIGHTS[0]])]
    if missing:
        raise FileNotFoundError(
            f"adapter {path} must hold {ADAPTER_CONFIG} and its weights, got no {' and no '.join(missing)}; "
            "use the whole folder that the training wrote"
        )
    return weights[0], config


def _scaling_in_metadata(file: Path) -> Scaling | None:
    """The config that a single file carries in its metadata, if any."""
    read_infos(file)  # refuses a damaged file
    with safe_open(file, framework="pt") as tensors:
        metadata = tensors.metadata() or {}
    text = next((metadata[name] for name in _CONFIG_METADATA if name in metadata), None)
    if text is None:
        return None
    try:
        config: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"metadata of {file} must be JSON, got: {error}; download it again") from error
    if not isinstance(config, dict):
        raise ValueError(f"metadata of {file} must hold an adapter's config, got {text!r}; download it again")
    return read_scaling(file, {"peft_type": "LORA", **config})


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """Reads all tensors into memory, so that the file may change afterwards; refuses NaN and infinity."""
    get_tensor = map_file(file)
    tensors = {}
    for name in read_infos(file):
        tensors[name] = tensor = get_tensor(name).clone(memory_format=torch.contiguous_format)
        # The extremes are NaN or infinite if any number is. Types of one byte and complex numbers have none.
        numbers = tensor if tensor.is_floating_point() and tensor.itemsize > 1 else tensor.float()
        if numbers.numel() and not torch.isfinite(torch.stack(numbers.aminmax())).all():
            raise ValueError(
                f"adapter {file} must hold finite numbers, got NaN or infinity in {name}; its training has "
                "failed, use an earlier save of it"
            )
    return tensors


def _update(digest: hashlib._Hash, file: Path) -> None:
    with file.open("rb") as stream:
        while block := stream.read(_HASHED_BYTES):
            digest.update(block)
