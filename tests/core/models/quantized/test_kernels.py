"""The table of kernels for quantized weights: what a device runs is tried, and used where it is right."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.models.quantized import kernels
from janus_nodes.janus_core.models.quantized.int4_linear import Int4Linear
from janus_nodes.janus_core.models.quantized.int8_linear import Int8Linear
from janus_nodes.janus_core.models.quantized.kernels import Kernel
from janus_nodes.janus_core.pipeline import workspace
from support.allocations import AllocationCounter
from torch import Tensor

SUPPORT = Path(__file__).resolve().parents[3] / "support"
CPU = torch.device("cpu")
# Rounding of outputs to 16 bits; in float32, sums in another order.
MOST = {"fp32": 1e-6, "bf16": 4e-3, "fp16": 5e-4}

Fill = Callable[[Kernel], list[int]]


def figures(script: str, **variables: str) -> dict[str, float]:
    """What a script with Triton prints; without Triton the test is skipped, and fails in a full run."""
    if importlib.util.find_spec("triton") is None:
        if os.environ.get("JANUS_REQUIRE_COMFYUI") == "1" and (sys.platform, platform.machine()) == (
            "linux",
            "x86_64",
        ):
            pytest.fail("no Triton to test with; tests/requirements.txt has it")
        pytest.skip("needs Triton")
    finished = subprocess.run(
        [sys.executable, str(SUPPORT / script)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    found: dict[str, float] = json.loads(finished.stdout)
    return found


@pytest.mark.slow
def test_triton_computes_the_formulas() -> None:
    found = figures("triton_products.py", TRITON_INTERPRET="1")
    assert found.pop("overflow") <= MOST["fp16"]
    assert len(found) == 2 * len(MOST)
    assert {name for name, error in found.items() if error > MOST[name.split()[1]]} == set(), found


@pytest.mark.slow
def test_the_kernels_compile_for_graphics_cards(tmp_path: Path) -> None:
    found = figures("triton_targets.py", TRITON_CACHE_DIR=str(tmp_path))
    assert len(found) == 6
    assert all(0 < used <= 64 * 1024 for used in found.values()), found  # what Turing has


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """Fills the table with one kernel for CPUs, and returns a list of the numbers of vectors that it gets."""

    def fill(kernel: Kernel) -> list[int]:
        calls: list[int] = []

        def int8(inputs: Tensor, *weights: Tensor | None) -> Tensor:
            calls.append(len(inputs))
            return kernel.int8(inputs, *weights)

        def int4(inputs: Tensor, *weights: Tensor | int | None) -> Tensor:
            calls.append(len(inputs))
            return kernel.int4(inputs, *weights)

        on_cpu = replace(kernel, device_types=frozenset({"cpu"}), int8=int8, int4=int4)
        monkeypatch.setattr(kernels, "KERNELS", (on_cpu,))
        kernels._usable.cache_clear()
        return calls

    yield fill
    kernels._usable.cache_clear()


def product(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    outputs = inputs.float() @ (weight.float() * scale[:, None]).T
    return (outputs if bias is None else outputs + bias).to(inputs.dtype)


RIGHT = Kernel("right", frozenset(), product, kernels._multiply_dequantized, max_vectors=4)


def layers(columns: int) -> tuple[Int8Linear, Int4Linear]:
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(8, columns, generator=generator) for columns in (columns, 1))
    return Int8Linear(weight[:, :-24], bias[:, 0]), Int4Linear(weight, bias[:, 0])


def test_few_vectors_are_multiplied_by_the_kernel(fill: Fill) -> None:
    int8, int4 = layers(64)
    few, many = torch.randn(2, 2, 64), torch.randn(5, 64)
    # Of rows that PyTorch's own int8 kernel does not take.
    expected = [layer(inputs[..., : layer.in_features]) for layer in (int8, int4) for inputs in (few, many)]
    calls = fill(RIGHT)
    assert kernels.fastest(CPU, torch.float32, 4) is not None
    calls.clear()
    found = [layer(inputs[..., : layer.in_features]) for layer in (int8, int4) for inputs in (few, many)]
    assert calls == [4, 4]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_an_estimate_asks_for_what_the_run_computes_in(fill: Fill) -> None:
    dtypes: list[torch.dtype] = []

    def noted(inputs: Tensor, *weights: Any) -> Tensor:
        dtypes.append(inputs.dtype)
        return kernels._multiply_dequantized(inputs, *weights)

    calls = fill(replace(RIGHT, int4=noted))
    for layer in layers(64):
        layer.to("meta")  # weights that are moved only for the run
        few, many = (layer.conversion_bytes(vectors, torch.bfloat16, CPU) for vectors in (4, 5))
        assert few == 0 < many
    assert set(dtypes) == {torch.bfloat16}
    assert len(calls) == 4  # tried once
    assert kernels.fastest(torch.device("cpu", 0), torch.bfloat16, 4) is not None
    assert len(calls) == 4


def test_layers_are_asked_about_where_the_run_computes(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(workspace.registry, "conversion_bytes", lambda *call: asked.append(call[2:]) or 0)
    own = replace(pipe, device=torch.device("cuda", 1))  # the weights are still on the CPU
    workspace.vision_bytes(own, 1)
    workspace.pass_bytes(own, 1, 2, 3)
    workspace.text_head_bytes(own, 1, 1)
    assert set(asked) == {(own.dtype, own.device)}


def test_memory_that_ran_out_says_nothing_about_a_kernel(fill: Fill) -> None:
    errors = [RuntimeError("Triton Error: out of memory"), torch.OutOfMemoryError("CUDA out of memory")]

    def full(*arguments: Any) -> Tensor:
        if errors:
            raise errors.pop()
        return product(*arguments)

    fill(replace(RIGHT, int8=full))
    with pytest.raises(torch.OutOfMemoryError):
        kernels.fastest(CPU, torch.float32, 1)
    _, int4 = layers(64)
    assert int4.conversion_bytes(1, torch.float32, CPU) > 0  # as if it were dequantized
    assert int4.conversion_bytes(1, torch.float32, CPU) == 0
    assert errors == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dequantized_weights_take_what_is_estimated(dtype: torch.dtype) -> None:
    weight, (scale, zero) = torch.zeros(512, 256, dtype=torch.uint8), torch.ones(2, 512, 8, dtype=dtype)
    with AllocationCounter() as counter:
        kernels.dequantized(weight, scale, zero, 64, dtype)
    estimate = kernels.conversion_bytes(weight, 1, dtype, CPU)
    assert 0.9 * estimate <= counter.memory.peak <= estimate


def crash(*_: object) -> Tensor:
    raise OSError("no compiler")


def wrong(inputs: Tensor, weight: Tensor, *_: object) -> Tensor:
    return inputs.new_zeros(len(inputs), len(weight))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (replace(RIGHT, int8=crash), "weights are dequantized on cpu, where right does not run: no compiler"),
        (replace(RIGHT, int4=wrong), "weights are dequantized on cpu, where right is wrong in torch.float32"),
    ],
)
def test_weights_are_dequantized_where_the_kernel_is_not_right(
    fill: Fill, caplog: pytest.LogCaptureFixture, kernel: Kernel, message: str
) -> None:
    calls = fill(kernel)
    _, int4 = layers(64)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            int4(torch.randn(2, 64))
    assert [record.message for record in caplog.records] == [message]  # tried once
    assert len(calls) == 2
    assert kernels.fastest(CPU, torch.float32, 1) is None
