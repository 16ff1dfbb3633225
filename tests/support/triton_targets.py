"""Compiles the Triton kernels for cards that need not be there, and prints their shared memory as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton_products import GROUP, module  # a script's own folder is on its path

# By name: the target, and the dtype of inputs that such cards are fast with.
TARGETS: dict[str, tuple[GPUTarget, str]] = {
    "Turing": (GPUTarget("cuda", 75, 32), "fp16"),
    "Ampere": (GPUTarget("cuda", 80, 32), "bf16"),
    "RDNA 3": (GPUTarget("hip", "gfx1100", 32), "bf16"),
}
DTYPES = {"fp16": tl.float16, "bf16": tl.bfloat16}
POINTERS = {
    "weight": ("*i8", "*u8"),
    "scale": ("*fp32", "*bf16"),
    "zero": ("*bf16", "*bf16"),
    "bias": ("*fp32",) * 2,
}


def shared_bytes(kernels: Any, bits: int, target: GPUTarget, dtype: str, vectors: int) -> int:
    """Shared memory of a program."""
    kernel = kernels._int8_kernel if bits == 8 else kernels._int4_kernel
    constants: dict[str, Any] = {
        "has_bias": True,
        "dtype": DTYPES[dtype],
        "most_vectors": vectors,
        "most_outputs": kernels._OUTPUTS,
        **({"most_inputs": kernels._INPUTS[vectors]} if bits == 8 else {"group_size": GROUP}),
    }
    types = {name: pair[bits == 4] for name, pair in POINTERS.items()} | {
        "inputs": f"*{dtype}",
        "outputs": f"*{dtype}",
    }
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    values = {(names.index(name),): value for name, value in constants.items()}
    compiled = triton.compile(
        ASTSource(kernel, signature, values), target=target, options={"num_stages": kernels._STAGES}
    )
    return int(compiled.metadata.shared)


def main() -> None:
    """Prints bytes by target and bits, for as many input vectors as a program holds."""
    kernels = module()
    vectors = max(kernels._INPUTS)
    found = {
        f"{name}, {bits} bits": shared_bytes(kernels, bits, target, dtype, vectors)
        for name, (target, dtype) in TARGETS.items()
        for bits in (8, 4)
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
