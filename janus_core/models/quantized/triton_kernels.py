"""Products with 8-bit and 4-bit weights in Triton: each weight is read once, as it is stored.

Only `kernels` imports this module, when a device is tried. A program computes a block of outputs for all
input vectors, and converts weights in registers. Sums are float32, and factors are applied to them: so
nothing overflows in fp16, and no input has to be divided there.

Hints are not postponed here: older releases of Triton compare them with `tl.constexpr` itself.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

# Outputs of a program. The layers of Janus-Pro-7B have 4096 outputs and more: at least 128 programs, about as
# many as a large GPU has multiprocessors.
_OUTPUTS = 32

# By the input vectors that a program holds, padded: 8-bit weights of an output that it reads at a time. With
# `_STAGES` of them on their way, it takes 32 to 48 KB of shared memory in 16 bits, and Turing has 64.
_INPUTS = {16: 128, 32: 64, 64: 64}
_STAGES = 4


@triton.jit
def _int8_kernel(
    inputs,
    weight,
    scale,
    bias,
    outputs,
    num_vectors,
    num_outputs,
    num_inputs,
    has_bias: tl.constexpr,
    dtype: tl.constexpr,
    most_vectors: tl.constexpr,
    most_outputs: tl.constexpr,
    most_inputs: tl.constexpr,
):
    vectors, inner = tl.arange(0, most_vectors)[:, None], tl.arange(0, most_inputs)
    columns = tl.program_id(0) * most_outputs + tl.arange(0, most_outputs)
    weights = weight + columns[None, :].to(tl.int64) * num_inputs
    is_vector, is_column = vectors < num_vectors, columns < num_outputs
    total = tl.zeros((most_vectors, most_outputs), dtype=tl.float32)
    for start in range(0, num_inputs, most_inputs):
        at = start + inner
        is_input = at < num_inputs
        values = tl.load(
            inputs + vectors * num_inputs + at[None, :], mask=is_vector & is_input[None, :], other=0.0
        )
        codes = tl.load(weights + at[:, None], mask=is_input[:, None] & is_column[None, :], other=0)
        total = tl.dot(values.to(dtype), codes.to(dtype), total, input_precision="ieee")
    total = total * tl.load(scale + columns, mask=is_column, other=0.0)[None, :]
    if has_bias:
        total += tl.load(bias + columns, mask=is_column, other=0.0)[None, :]
    places = outputs + vectors * num_outputs + columns[None, :]
    tl.store(places, total.to(outputs.dtype.element_ty), mask=is_vector & is_column[None, :])


@triton.jit
def _int4_kernel(
    inputs,
    weight,
    scale,
    zero,
    bias,
    outputs,
    num_vectors,
    num_outputs,
    num_groups,
    has_bias: tl.constexpr,
    dtype: tl.constexpr,
    most_vectors: tl.constexpr,
    most_outputs: tl.constexpr,
    group_size: tl.constexpr,
):
    vectors, half = tl.arange(0, most_vectors)[:, None], tl.arange(0, group_size // 2)
    columns = tl.program_id(0) * most_outputs + tl.arange(0, most_outputs)
    weights = weight + columns[None, :].to(tl.int64) * (num_groups * (group_size // 2))
    is_vector, is_column = vectors < num_vectors, columns < num_outputs
    total = tl.zeros((most_vectors, most_outputs), dtype=tl.float32)
    for group in range(0, num_groups):
        # A byte holds an even column in its low half, and the odd one after it in its high half.
        at = inputs + vectors * (num_groups * group_size) + group * group_size + 2 * half[None, :]
        even = tl.load(at, mask=is_vector, other=0.0).to(dtype)
        odd = tl.load(at + 1, mask=is_vector, other=0.0).to(dtype)
        pairs = tl.load(weights + group * (group_size // 2) + half[:, None], mask=is_column[None, :], other=0)
        low, high = (pairs & 15).to(tl.int32) - 8, (pairs >> 4).to(tl.int32) - 8
        products = tl.dot(even, low.to(dtype), input_precision="ieee")
        products = tl.dot(odd, high.to(dtype), products, input_precision="ieee")
        sums = tl.sum(even.to(tl.float32) + odd.to(tl.float32), axis=1)
        factors = columns * num_groups + group
        scales = tl.load(scale + factors, mask=is_column, other=0.0).to(tl.float32)
        zeros = tl.load(zero + factors, mask=is_column, other=0.0).to(tl.float32)
        total += products * scales[None, :] + sums[:, None] * zeros[None, :]
    if has_bias:
        total += tl.load(bias + columns, mask=is_column, other=0.0)[None, :]
    places = outputs + vectors * num_outputs + columns[None, :]
    tl.store(places, total.to(outputs.dtype.element_ty), mask=is_vector & is_column[None, :])


def int8_product(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Maps up to 64 vectors [M, K] to [M, N], as `Int8Linear` with weights [N, K]."""
    num_vectors, num_inputs = inputs.shape
    outputs = inputs.new_empty(num_vectors, len(weight))
    padded = _padded(num_vectors)
    with _on(inputs.device):
        _int8_kernel[(triton.cdiv(len(weight), _OUTPUTS),)](
            inputs.contiguous(),
            weight.contiguous(),
            scale,
            scale if bias is None else bias,
            outputs,
            num_vectors,
            len(weight),
            num_inputs,
            bias is not None,
            _dtype(inputs),
            padded,
            _OUTPUTS,
            _INPUTS[padded],
            num_stages=_STAGES,
        )
    return outputs


def int4_product(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    """Maps up to 64 vectors [M, K] to [M, N], with weights in this package's layout."""
    num_vectors = len(inputs)
    outputs = inputs.new_empty(num_vectors, len(weight))
    with _on(inputs.device):
        _int4_kernel[(triton.cdiv(len(weight), _OUTPUTS),)](
            inputs.contiguous(),
            weight.contiguous(),
            scale.contiguous(),
            zero.contiguous(),
            scale if bias is None else bias,
            outputs,
            num_vectors,
            len(weight),
            scale.shape[1],
            bias is not None,
            _dtype(inputs),
            _padded(num_vectors),
            _OUTPUTS,
            group,
            num_stages=_STAGES,
        )
    return outputs


def _padded(num_vectors: int) -> int:
    """The input vectors that a program holds: `tl.dot` takes 16 at least."""
    return next(size for size in _INPUTS if num_vectors <= size)


def _dtype(inputs: Tensor) -> tl.dtype:
    """Of the factors of products. Triton's interpreter, which runs on CPUs, gets those of bf16 wrong."""
    if inputs.device.type == "cpu" or inputs.dtype is torch.float32:
        return tl.float32
    return tl.float16 if inputs.dtype is torch.float16 else tl.bfloat16


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Makes a device the current one, on whose current stream Triton launches."""
    if device.type == "cpu":
        return nullcontext()
    module = torch.get_device_module(device)
    if device.index in (None, module.current_device()):
        return nullcontext()
    guard: AbstractContextManager[object] = module.device(device)
    return guard
