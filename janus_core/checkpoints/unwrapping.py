"""Extracts a model's state dict from a trainer's pickle, which may hold an optimizer and more."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..arguments import listed

# Entries under which trainers save a model's tensors.
_MODEL_ENTRIES = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "model_state",
    "weights",
    "params",
    "net",
    "network",
)

# A pickle may hold a dictionary within itself, so the search must end.
_MAX_DEPTH = 4


def unwrap(content: object, file: Path) -> tuple[dict[str, Tensor], str]:
    """Returns a model's tensors by name, and the names of the other entries for the log.

    Args:
        content: the unpickled object: the state dict, or nested dictionaries that contain it next to entries
            such as an optimizer's state.
        file: the pickle, for errors.

    Raises:
        ValueError: if it holds no tensors, or those of several models.
    """
    others: list[str] = []
    for _ in range(_MAX_DEPTH):
        entry = _model_entry(content, file) if isinstance(content, dict) else None
        if entry is None:
            break
        assert isinstance(content, dict)  # only these have entries
        others += [str(name) for name in content if name != entry]
        content = content[entry]
    entries = content if isinstance(content, dict) else {}
    tensors = {name: value for name, value in entries.items() if _is_tensor(name, value)}
    if not tensors:
        raise ValueError(f"{file} must hold a dictionary of tensors; it is not a model's weights")
    others += [str(name) for name in entries if name not in tensors]
    return tensors, listed(others, 5)


def _model_entry(content: dict[object, object], file: Path) -> object | None:
    """Returns the key of the entry that holds the model; None if the dictionary itself is the state dict."""
    holders = [name for name, value in content.items() if _holds_tensors(value)]
    named = [name for name in holders if name in _MODEL_ENTRIES]
    has_tensors = any(_is_tensor(name, value) for name, value in content.items())
    # An unusual name, such as `ema`, is accepted if it is the only candidate.
    candidates = named or ([] if has_tensors else holders)
    if len(candidates) > 1:
        several = ", ".join(map(str, candidates))
        raise ValueError(
            f"{file} must hold the weights of one model, got several: {several}; save one of them in a file "
            "of its own"
        )
    return candidates[0] if candidates else None


def _holds_tensors(value: object, depth: int = _MAX_DEPTH) -> bool:
    """Whether an entry is a state dict, or a dictionary that contains one."""
    if not isinstance(value, dict) or depth == 0:
        return False
    return any(_is_tensor(name, inner) for name, inner in value.items()) or any(
        name in _MODEL_ENTRIES and _holds_tensors(inner, depth - 1) for name, inner in value.items()
    )


def _is_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)
