"""Which linear layers hold narrow weights, what these take, and what cannot be done with them.

A step of decoding reads every weight once and does little with it: bytes read are what it costs.
"""

from __future__ import annotations

from torch import nn

from .int8_linear import Int8Linear, PackedInt8Linear
from .packed_linear import FbgemmFp16Linear, OneDnnBf16Linear

PackedLinear = FbgemmFp16Linear | OneDnnBf16Linear | PackedInt8Linear
NarrowLinear = PackedLinear | Int8Linear


def weight_bytes(model: nn.Module) -> int:
    """Bytes that a model's weights take, each counted once."""
    return packed_bytes(model) + sum(parameter.nbytes for parameter in model.parameters())


def packed_bytes(model: nn.Module) -> int:
    """Bytes of a model's weights that are no parameters."""
    return sum(module.packed_bytes for module in model.modules() if isinstance(module, PackedLinear))


def check_not_quantized(model: nn.Module) -> None:
    """Refuses a model whose weights were packed or rounded: it cannot be trained or saved.

    Raises:
        ValueError: that says how to load it.
    """
    kinds = {type(module) for module in model.modules() if isinstance(module, NarrowLinear)}
    if kinds:
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"model must hold whole weights to be trained or saved, got {names} layers, as named precisions "
            "give; load it with one of PyTorch's own, dtype=torch.float32 or torch.bfloat16"
        )
