"""A CUDA device that exists only as a label: real numbers on the CPU, under the rules of CUDA.

A `CudaTensor` claims to be on `cuda:0` and holds an ordinary CPU tensor. Operators on it are checked against
what a CUDA device demands (tensors and generators of one device, products of one dtype, no numpy), computed
on the CPU, and counted: kernels, waits of the host, and copies between main memory and the device.

    with torch.inference_mode(), simulated_cuda() as counts:
        pipe = load_pipeline(folder, device="cuda", dtype=torch.bfloat16)
        pipe.generate(...)
    print(counts)

`MEMORY` counts what the tensors take, and has a limit to set. The simulation
cannot show speed, CUDA's own rounding, races of streams, or fragmentation. In inference mode, it also runs
on builds of PyTorch without CUDA. It sees one thread only: int8 layers, which a loader quantizes in a thread,
have to be loaded on the CPU and moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .cuda_tensor import (
    ALLOCATES,
    COUNTS,
    CUDA,
    MEMORY,
    Counts,
    CudaTensor,
    copy_between,
    copy_to_device,
    on_cpu,
    refuse,
    site,
)

# Methods that give the host numbers.
_READS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__format__"}
_FACTORIES = set(
    "empty empty_strided zeros ones full arange tensor as_tensor scalar_tensor rand randn randint randperm "
    "linspace eye".split()
)


def _contiguous(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_contiguous() else torch.clone(tensor, memory_format=torch.contiguous_format)


# Methods that ask for a device guard, which builds without CUDA lack, and functions that do the same.
_WITHOUT_GUARD: dict[str, Callable[..., Any]] = {"__invert__": torch.bitwise_not, "contiguous": _contiguous}


@contextmanager
def simulated_cuda() -> Iterator[Counts]:
    """Tensors that are created on or moved to `cuda` within the block are simulated ones."""
    torch._C._ensureCUDADeviceGuardSet()  # builds without CUDA get a guard that does nothing
    swaps = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # `Module.to` assigns, as it must here
    COUNTS.reset()
    MEMORY.limit = math.inf
    try:
        # Newer versions of ComfyUI wait for each layer that they move; builds without CUDA refuse to.
        with _Factories(), patch.object(torch.cuda, "synchronize", _synchronize):
            yield COUNTS
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(swaps)


def _synchronize(device: Any = None) -> None:
    COUNTS.waits[f"synchronize, {site()}"] += 1


class _Factories(TorchFunctionMode):
    """Creates and moves simulated tensors, which PyTorch's own device checks must not see."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs a function of PyTorch."""
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if name in ("to", "cuda", "cpu") and args and isinstance(args[0], Tensor):
            return _move(func, name, args, kwargs)
        if name in ("numpy", "__array__") and isinstance(args[0], CudaTensor):
            refuse("numpy: expected a tensor on the CPU, got one on cuda")
        if name in _READS and isinstance(args[0], CudaTensor):
            COUNTS.waits[f"{name}, {site()}"] += 1
            return func(args[0].inner, *args[1:])
        if name == "data_ptr" and isinstance(args[0], CudaTensor):
            return args[0].inner.data_ptr()
        if name == "where" and isinstance(args[0], CudaTensor) and len(args) == 3:
            COUNTS.kernels["where"] += 1 + sum(not isinstance(choice, Tensor) for choice in args[1:])
            return CudaTensor(func(*on_cpu(args)))
        if name in ("__getitem__", "__setitem__") and isinstance(args[0], CudaTensor):
            return _index(func, name, *args)
        if name == "copy_" and any(isinstance(value, CudaTensor) for value in args[:2]):
            return copy_between(torch.ops.aten.copy_.default, name, args, kwargs)
        if name in _WITHOUT_GUARD and isinstance(args[0], CudaTensor):
            return _WITHOUT_GUARD[name](*args)
        if name in _FACTORIES or name.startswith("new_") or name.endswith("_like"):
            return _create(func, name, args, kwargs)
        return func(*args, **kwargs)


def _index(func: Callable[..., Any], name: str, tensor: CudaTensor, index: Any, *value: Any) -> Any:
    """Indexing, whose own code asks for a device guard that builds without CUDA lack."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, list) or (isinstance(part, Tensor) and not isinstance(part, CudaTensor)):
            copy_to_device(torch.as_tensor(part), asynchronous=False)
        if isinstance(part, Tensor) and part.dtype is torch.bool:
            COUNTS.waits[f"index by a mask, {site()}"] += 1
    if value or any(isinstance(part, list | Tensor) for part in parts):
        COUNTS.kernels["index"] += 1
    if value and isinstance(value[0], Tensor) and value[0].ndim and not isinstance(value[0], CudaTensor):
        copy_to_device(value[0], asynchronous=False)
    result = func(tensor.inner, *on_cpu((index, *value)))
    return None if value else CudaTensor(result)


def _moved(tensor: Tensor, asynchronous: bool = False) -> CudaTensor:
    copy_to_device(tensor, asynchronous)
    return CudaTensor(tensor)


def _create(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A new tensor."""
    device, pinned = kwargs.pop("device", None), kwargs.pop("pin_memory", False)
    like = args and isinstance(args[0], CudaTensor) and name not in _FACTORIES
    goes_there = like if device is None else torch.device(device).type == "cuda"
    if goes_there and kwargs.get("generator") is not None:
        refuse(f"{name}: expected a generator on cuda, got one on the CPU")
    if not goes_there and device is not None:
        kwargs["device"] = device
    made = func(*on_cpu(args), **kwargs)
    if not goes_there:
        made.pinned = bool(pinned)
        return made
    if name in ("tensor", "as_tensor", "new_tensor"):
        return _moved(made)
    if name not in ALLOCATES:
        COUNTS.kernels[name] += 1
    return CudaTensor(made)


def _move(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """`to`, `cuda` and `cpu` of a tensor."""
    source, device, dtype = args[0], kwargs.get("device"), kwargs.get("dtype")
    for value in args[1:]:
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, torch.device | str):
            device = value
    device = {"cuda": CUDA, "cpu": "cpu"}.get(name, device)
    here, dtype = isinstance(source, CudaTensor), dtype or source.dtype
    goes_there = here if device is None else torch.device(device).type == "cuda"
    if not here and not goes_there:
        return func(*args, **kwargs)
    if here and goes_there and dtype is source.dtype and not kwargs.get("copy"):
        return source
    numbers = on_cpu(source).to(dtype, copy=True)
    if not here:
        return _moved(
            numbers.detach(), kwargs.get("non_blocking", False) and getattr(source, "pinned", False)
        )
    if not goes_there:
        COUNTS.waits[f"to the CPU, {site()}"] += 1
        return numbers
    COUNTS.kernels["_to_copy"] += 1
    return CudaTensor(numbers)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    """Attention, with the kernels that CUDA would choose: flash, memory-efficient, or by products."""
    parts = [part for part in (query, key, value, attn_mask) if part is not None]
    with torch._C.DisableTorchFunction():
        result = torch._C._nn.scaled_dot_product_attention(
            *on_cpu((query, key, value, attn_mask)), dropout_p, is_causal, **options
        )
    if not any(isinstance(part, CudaTensor) for part in parts):
        return result
    if not all(isinstance(part, CudaTensor) for part in parts):
        refuse("attention: expected all tensors on cuda")
    if len({part.dtype for part in parts if part.dtype is not torch.bool}) > 1:
        refuse("attention: expected one dtype")
    if attn_mask is None and query.dtype.itemsize == 2:
        COUNTS.kernels["flash attention"] += 2 if query.shape[2] < 64 else 1
    elif options.get("enable_gqa"):
        COUNTS.kernels["attention by products"] += 8
    else:
        masked = attn_mask is not None
        converted = 3 * (masked and attn_mask.dtype is torch.bool)  # to an additive mask
        padded = masked and any(stride % 16 for stride in attn_mask.stride()[:-1])
        COUNTS.kernels["efficient attention"] += 1 + converted + padded
    return CudaTensor(result.transpose(1, 2).contiguous().transpose(1, 2))
