"""Counts the memory that tensors take while a model runs."""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What the host reads of any number on the `meta` device: a token id that every model has.
_MADE_UP_NUMBER = 64


class Memory:
    """What tensors take, each storage once, from when it is held until it is freed.

    Attributes:
        live: bytes now.
        peak: the most bytes since it was set.
        limit: bytes that there are.
    """

    def __init__(self) -> None:
        self.live = self.peak = 0
        self.limit: float = math.inf
        self._held: dict[int, Any] = {}

    def hold(self, storage: torch.UntypedStorage) -> None:
        """Counts a storage, or raises what a device without room for it does."""
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return
        if self.live + size > self.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes.")

        def freed(_: object) -> None:
            del self._held[key]
            self.live -= size

        self._held[key] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)


class AllocationCounter(TorchDispatchMode):
    """Counts the bytes of the tensors on one device that operators allocate within a `with` block.

    A storage is counted once, from the operator that returns it until it is freed, whatever number of tensors
    view it. Tensors from before the block, such as weights, are not counted. Neither is the memory within a
    kernel, such as that of fused attention, of convolutions in other layouts, and of libraries' workspaces.

    On the `meta` device nothing is computed, so that models of any size can be counted. The values that the
    host reads there are made up: all tensors hold zeros, and checks succeed.

    Attributes:
        memory: what they take.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device, self.memory = device, Memory()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operator and counts the new storages that it returns."""
        kwargs = kwargs or {}
        if self.device == "meta" and (answer := _host_read(func, args, kwargs)) is not None:
            return answer
        # Views and in-place operators return storages of their inputs.
        known = {_key(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            if tensor.device.type == self.device and _key(tensor) not in known:
                self.memory.hold(tensor.untyped_storage())
        return result


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _host_read(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the host gets to read of a tensor on the `meta` device; None if an operator reads nothing."""
    if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
        return True if args[0].dtype is torch.bool else _MADE_UP_NUMBER
    if func is torch.ops.aten._to_copy.default and args[0].is_meta:
        target = kwargs.get("device")
        if target is not None and torch.device(target).type == "cpu":
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device="cpu")
    return None


class FusedAttention(TorchFunctionMode):
    """Attention on the `meta` device with the allocations of CUDA's fused kernels."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns an empty result of `scaled_dot_product_attention`, and calls every other function."""
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, _, value = args[:3]
        mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
        if mask is not None and mask.dtype is torch.bool:
            torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), -torch.inf)
        if mask is not None and any(stride % 16 for stride in mask.stride()[:-1]):
            F.pad(torch.empty_like(mask, dtype=query.dtype), (0, -mask.shape[-1] % 16))
        batch, heads, length, _ = query.shape
        return query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
