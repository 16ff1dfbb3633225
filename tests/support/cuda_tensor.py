"""Tensors of a simulated CUDA device: the rules of CUDA, and counts of what the device does."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .allocations import Memory

CUDA = torch.device("cuda", 0)
REPOSITORY = str(Path(__file__).resolve().parents[2])

# Operators that only allocate.
ALLOCATES = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"}
# Kernels of operators that launch several, about.
_SEVERAL = {
    "cumsum": 2,
    "sort": 4,
    "topk": 3,
    "masked_scatter": 4,
    "nonzero": 3,
    "group_norm": 3,
    "multinomial": 3,
}
_SAME_DTYPE = {"linear", "conv2d", "matmul", "mm", "addmm", "bmm", "baddbmm", "convolution"}
# Operators that take a CPU scalar (a tensor without dimensions) beside tensors on the device.
_TAKES_SCALARS = set(
    "add sub mul div rsub pow eq ne lt le gt ge maximum minimum where masked_fill fill clamp lerp addcmul "
    "bitwise_and bitwise_or floor_divide remainder".split()
)
# Operators after which the host waits for the device.
_WAITS = {"is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"}


class WrongDeviceError(RuntimeError):
    """What a CUDA device refuses."""


@dataclass
class Counts:
    """What a device did, each by the operator or line of the project that asked for it."""

    kernels: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)  # of the host
    to_device: Counter[str] = field(default_factory=Counter)  # copies from main memory
    bytes_to_device: int = 0

    @property
    def num_kernels(self) -> int:
        """Launches of kernels."""
        return self.kernels.total()

    @property
    def num_waits(self) -> int:
        """How often the host waited for the device."""
        return self.waits.total()

    def reset(self) -> None:
        """Starts to count from zero."""
        self.kernels.clear()
        self.waits.clear()
        self.to_device.clear()
        self.bytes_to_device = 0


COUNTS = Counts()
MEMORY = Memory()


class CudaTensor(Tensor):
    """A tensor that claims to be on `cuda:0`; `inner` holds its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> CudaTensor:
        """Labels a CPU tensor."""
        made: CudaTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CUDA,
        )
        made.inner = inner.detach()
        MEMORY.hold(made.inner.untyped_storage())
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operator."""
        return _run(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: object = None) -> str:
        """Names shape and dtype only."""
        return f"CudaTensor({tuple(self.shape)}, {self.dtype})"


def on_cpu(value: Any) -> Any:
    """The numbers of a tensor, or of a structure of tensors, without being copied or counted."""
    return tree_map(lambda leaf: leaf.inner if isinstance(leaf, CudaTensor) else leaf, value)


def site() -> str:
    """The line of the project that is running."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(REPOSITORY) and "/tests/" not in file:
            return f"{file.removeprefix(REPOSITORY + '/')}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside of the project"


def refuse(message: str) -> None:
    """Raises the error of an operator, with the line of the project."""
    raise WrongDeviceError(f"{message}, in {site()}")


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Checks, counts and computes an operator."""
    name: str = func._schema.name.split("::")[1]
    if name == "_has_compatible_shallow_copy_type":
        return False
    if name in ("copy_", "_to_copy"):
        return copy_between(func, name, args, kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    _check(name, args, kwargs, tensors)
    here = [tensor for tensor in tensors if isinstance(tensor, CudaTensor)]
    masks = [tensor for tensor in here[1:] if tensor.dtype is torch.bool and name in ("index", "index_put_")]
    if name in _WAITS or masks or (name, func._overloadname) == ("repeat_interleave", "Tensor"):
        COUNTS.waits[f"{name}, {site()}"] += 1
    result = func(*on_cpu(args), **on_cpu(_without(kwargs, "device", "pin_memory")))
    # Operators in place and those with `out` return what they were given.
    written = [
        args[index] if index < len(args) else kwargs[argument.name]
        for index, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    if written or _computes(name, args, kwargs, result):
        COUNTS.kernels[name] += _SEVERAL.get(name, 1)
    if written and func._schema.returns:
        return written[0] if len(func._schema.returns) == 1 else tuple(written)
    return tree_map(lambda leaf: CudaTensor(leaf) if type(leaf) is Tensor else leaf, result)


def _computes(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
    """Whether an operator launches kernels: not if it returns a view of what it was given."""
    given = set(_storages(on_cpu((args, kwargs))))
    return name not in ALLOCATES and any(storage not in given for storage in _storages(result))


def _storages(values: Any) -> list[int]:
    return [leaf.untyped_storage()._cdata for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _check(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]) -> None:
    """Raises WrongDeviceError for what a device refuses."""
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        refuse(f"{name}: expected a generator on cuda, got one on the CPU")
    for tensor in tensors:
        if isinstance(tensor, CudaTensor) or (tensor.ndim == 0 and name.rstrip("_") in _TAKES_SCALARS):
            continue
        if name == "index" and tensor is not args[0]:
            copy_to_device(tensor, asynchronous=False)
        else:
            refuse(f"{name}: expected all tensors on cuda, got {tuple(tensor.shape)} on the CPU")
    if name in _SAME_DTYPE and len({tensor.dtype for tensor in tensors}) > 1:
        refuse(f"{name}: expected one dtype, got {sorted({str(tensor.dtype) for tensor in tensors})}")


def copy_between(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`copy_` into a tensor, or `to` between devices and dtypes."""
    target, source = (args[0], args[1]) if name == "copy_" else (None, args[0])
    device = kwargs.get("device")
    leaves = device is not None and torch.device(device).type == "cpu"
    leaves = leaves or (name == "copy_" and not isinstance(target, CudaTensor))
    if not isinstance(source, CudaTensor):
        copy_to_device(source, bool(kwargs.get("non_blocking") or (len(args) > 2 and args[2])))
    elif leaves:
        COUNTS.waits[f"{name}, {site()}"] += 1
    else:
        COUNTS.kernels[name] += 1
    result = func(*on_cpu(args), **_without(kwargs, "device", "pin_memory", "non_blocking"))
    return target if name == "copy_" else (result.clone() if leaves else CudaTensor(result))


def _without(kwargs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in names}


def copy_to_device(source: Tensor, asynchronous: bool) -> None:
    """Counts a copy, and a wait if it is not asynchronous."""
    COUNTS.to_device[site()] += 1
    COUNTS.bytes_to_device += source.nbytes
    if not asynchronous:
        COUNTS.waits[f"copy to the device, {site()}"] += 1
