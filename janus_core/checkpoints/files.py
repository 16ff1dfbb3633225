"""Finds the weight files of a checkpoint folder."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from ..file_io import read_json

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")

# In order of preference: safetensors before pickles, shards before a single file.
_WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)

# Files with a weights suffix that hold no model: trainers write them next to the weights.
_NO_WEIGHTS = (
    "adapter_model*",
    "training_args*",
    "optimizer*",
    "*optim_states*",
    "scheduler*",
    "scaler*",
    "rng_state*",
)

_WHERE_FROM = (
    "download them from the page of this checkpoint or of its base, such as huggingface.co/deepseek-ai/"
    "Janus-Pro-1B"
)


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a checkpoint folder lacks; empty if it is complete.

    Raises:
        ValueError: if a shard index is broken or points outside the folder, or if several files could be the
            weights.
    """
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    weights = weight_files(folder)
    if not weights:
        missing.append("model.safetensors or pytorch_model.bin (or their shards with an index)")
    return missing + [file.name for file in weights if not file.is_file()]


def find_weight_files(folder: Path) -> list[Path]:
    """Returns the files that hold a checkpoint's weights; refuses an incomplete checkpoint."""
    missing = missing_files(folder)
    if missing:
        raise FileNotFoundError(
            f"{folder} must hold a whole checkpoint, got none of these: {', '.join(missing)}; {_WHERE_FROM}"
        )
    return weight_files(folder)


def weight_files(folder: Path) -> list[Path]:
    """Returns the files that hold a folder's weights; empty if it has none.

    In order of preference: the first complete set of files with the usual names; the first incomplete one;
    the only file of another name, such as a trainer's `last.ckpt`, even if there is an index of shards that
    are all missing.

    Raises:
        ValueError: as `missing_files` does.
    """
    sets = [
        _shards(folder / name) if name.endswith(".index.json") else [folder / name]
        for name in _WEIGHT_FILES
        if (folder / name).is_file()
    ]
    complete = (files for files in sets if all(file.is_file() for file in files))
    begun = (files for files in sets if any(file.is_file() for file in files))
    usual = next(complete, None) or next(begun, None)
    return usual or _weights_of_another_name(folder) or next(iter(sets), [])


def _weights_of_another_name(folder: Path) -> list[Path]:
    found = [
        file
        for file in sorted(folder.glob("*"))
        if file.suffix.lower() in WEIGHT_SUFFIXES
        and not file.name.startswith(".")
        and not any(fnmatch(file.name.lower(), pattern) for pattern in _NO_WEIGHTS)
        and file.is_file()
    ]
    if found and all(re.search(r"-\d+-of-\d+$", file.stem) for file in found):
        is_safe = found[0].suffix == ".safetensors"
        index = "model.safetensors.index.json" if is_safe else "pytorch_model.bin.index.json"
        return [folder / index]  # shards without it
    if len(found) < 2:
        return found
    names = ", ".join(file.name for file in found)
    raise ValueError(
        f"{folder} must hold the weights of one model, got {names}; leave the one to use there, and move the "
        "others to folders of their own"
    )


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
