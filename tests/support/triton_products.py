"""Prints the errors of the Triton kernels as JSON; for a process of its own with TRITON_INTERPRET=1."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

KERNELS = Path(__file__).resolve().parents[2] / "janus_core/models/quantized/triton_kernels.py"
VECTORS, OUTPUTS, GROUP = (1, 17, 64), 70, 64
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def module() -> Any:
    """The kernels, without the rest of the package, which takes seconds to import."""
    spec = importlib.util.spec_from_file_location("triton_kernels", KERNELS)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def error(found: Tensor, expected: Tensor) -> float:
    """The relative error of outputs."""
    return float((found.double() - expected).norm() / expected.norm())


def errors(kernels: Any, vectors: int, dtype: torch.dtype, bias: Tensor | None) -> dict[str, float]:
    """Those of both products, against their formulas in float64."""
    generator = torch.Generator().manual_seed(vectors)
    extra = 0.0 if bias is None else bias.double()
    inputs = torch.randn(vectors, 37 + 2 * GROUP, generator=generator).to(dtype)[:, 4:]  # not contiguous
    codes = torch.randint(-127, 128, (OUTPUTS, inputs.shape[1]), generator=generator).to(torch.int8)
    scale = torch.rand(OUTPUTS, generator=generator)
    exact = inputs.double() @ (codes.double() * scale.double()[:, None]).T + extra
    found = {"int8": error(kernels.int8_product(inputs, codes, scale, bias), exact)}

    inputs = torch.randn(vectors, 3 * GROUP, generator=generator).to(dtype)
    packed = torch.randint(0, 256, (OUTPUTS, 3 * GROUP // 2), generator=generator).to(torch.uint8)
    scales, zeros = torch.randn(2, OUTPUTS, 3, generator=generator).bfloat16()
    whole = torch.stack((packed & 15, packed >> 4), dim=-1).view(OUTPUTS, 3, GROUP).double() - 8
    weights = (whole * scales.double()[..., None] + zeros.double()[..., None]).flatten(1)
    outputs = kernels.int4_product(inputs, packed, scales, zeros, GROUP, bias)
    return found | {"int4": error(outputs, inputs.double() @ weights.T + extra)}


def overflow(kernels: Any) -> float:
    """The error in fp16 where products with whole numbers overflow, and outputs do not."""
    inputs, codes = torch.full((2, 128), 60.0).half(), torch.full((33, 128), 127, dtype=torch.int8)
    outputs = kernels.int8_product(inputs, codes, torch.full((33,), 1e-3), None)
    return error(outputs, torch.full((2, 33), 60 * 128 * 0.127, dtype=torch.float64))


def main() -> None:
    """Prints the largest errors by dtype and product."""
    torch.set_num_threads(1)
    kernels = module()
    found: dict[str, float] = {"overflow": overflow(kernels)}
    for name, dtype in DTYPES.items():
        for index, vectors in enumerate(VECTORS):
            bias = torch.randn(OUTPUTS) if index % 2 else None
            for product, value in errors(kernels, vectors, dtype, bias).items():
                found[f"{product} {name}"] = max(value, found.get(f"{product} {name}", 0.0))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
