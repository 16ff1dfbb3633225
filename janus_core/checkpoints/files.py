"""Finds the weight files of a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from ..file_io import read_json

# In order of preference: safetensors before pickles, shards before a single file.
_WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a checkpoint folder lacks; empty if it is complete.

    Raises:
        ValueError: if a shard index is broken or points outside the folder.
    """
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    weights = _weight_files(folder)
    if not weights:
        missing.append("model.safetensors or pytorch_model.bin (or their shards with an index)")
    return missing + [file.name for file in weights if not file.is_file()]


def find_weight_files(folder: Path) -> list[Path]:
    """Returns the files that hold a checkpoint's weights; refuses an incomplete checkpoint."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"checkpoint must be a folder, got {folder}, which does not exist; check the name"
        )
    missing = missing_files(folder)
    if missing:
        raise FileNotFoundError(
            f"{folder} must hold a whole checkpoint, got none of these: {', '.join(missing)}; download them "
            "again"
        )
    return _weight_files(folder)


def _weight_files(folder: Path) -> list[Path]:
    """Returns the first complete set of weight files; else the first incomplete set, else nothing."""
    sets = [
        _shards(folder / name) if name.endswith(".index.json") else [folder / name]
        for name in _WEIGHT_FILES
        if (folder / name).is_file()
    ]
    complete = (files for files in sets if all(file.is_file() for file in files))
    return next(complete, sets[0] if sets else [])


def _shards(index: Path) -> list[Path]:
    content = read_json(index)
    try:
        names = sorted(set(content["weight_map"].values()))
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{index} must be a shard index with a weight_map, got: {error!r}; download it again"
        ) from error
    for name in names:
        # An index from the internet must not make us read or write anywhere else.
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise ValueError(
                f"{index} must name files in its own folder, got {name!r}; do not use this checkpoint"
            )
    return [index.parent / name for name in names]
