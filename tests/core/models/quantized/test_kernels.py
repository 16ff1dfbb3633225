"""The table of kernels for quantized weights: what a device runs is tried, and used where it is right."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.models.quantized import int4_linear, int8_linear, kernels
from janus_nodes.janus_core.models.quantized.dequantize import int4_by_conversion, int8_by_conversion
from janus_nodes.janus_core.models.quantized.int4_linear import Int4Linear
from janus_nodes.janus_core.models.quantized.int8_linear import Int8Linear
from janus_nodes.janus_core.models.quantized.kernels import INT4, INT8, Kernel
from janus_nodes.janus_core.pipeline import workspace
from torch import Tensor

SUPPORT = Path(__file__).resolve().parents[3] / "support"
CPU = torch.device("cpu")
# Rounding of outputs to 16 bits; in float32, sums in another order.
MOST = {"fp32": 1e-6, "bf16": 4e-3, "fp16": 5e-4}

Fill = Callable[..., list[int]]


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
def fill(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Fills the tables with kernels for CPUs, and returns a list of the numbers of vectors that these get."""

    def fill(*, int8: tuple[Kernel, ...] = (), int4: tuple[Kernel, ...] = ()) -> list[int]:
        calls: list[int] = []

        def on_cpu(kernel: Kernel) -> Kernel:
            def product(inputs: Tensor, *weights: Any) -> Tensor:
                calls.append(len(inputs))
                return kernel.product(inputs, *weights)

            return replace(kernel, device_types=frozenset({"cpu"}), product=product)

        for form, table, layer in ((INT8, int8, int8_linear), (INT4, int4, int4_linear)):
            filled = replace(form, kernels=tuple(on_cpu(kernel) for kernel in table))
            for module in (kernels, layer):
                monkeypatch.setattr(module, "INT8" if form is INT8 else "INT4", filled)
        return calls

    return fill


RIGHT8 = Kernel("right", frozenset(), int8_by_conversion, max_vectors=4)
RIGHT4 = Kernel("right", frozenset(), int4_by_conversion, max_vectors=4)


def layers(columns: int) -> tuple[Int8Linear, Int4Linear]:
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(8, columns, generator=generator) for columns in (columns, 1))
    return Int8Linear(weight, bias[:, 0]), Int4Linear(weight, bias[:, 0])


def test_few_vectors_are_multiplied_by_the_kernel(fill: Fill) -> None:
    few, many = torch.randn(2, 2, 64), torch.randn(5, 64)
    fill()
    expected = [layer(inputs) for layer in layers(64) for inputs in (few, many)]
    calls = fill(int8=(RIGHT8,), int4=(RIGHT4,))
    found = [layer(inputs) for layer in layers(64) for inputs in (few, many)]
    assert calls == [3, 4, 4] * 2  # of each format, two that try the kernel
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_kernel_gets_the_shapes_that_it_takes(fill: Fill) -> None:
    int8, _ = layers(64)
    calls = fill(int8=(replace(RIGHT8, takes=lambda outputs, inputs: (outputs, inputs) != (8, 64)), RIGHT8))
    int8(torch.randn(2, 64))
    assert calls == [3, 4, 2]  # the second kernel is tried and taken
    assert kernels.fastest(kernels.INT8, CPU, torch.float32, 2, 8, 32) is kernels.INT8.kernels[0]


def test_an_estimate_asks_for_what_the_run_computes_in(fill: Fill) -> None:
    dtypes: list[torch.dtype] = []

    def noted(inputs: Tensor, *weights: Any) -> Tensor:
        dtypes.append(inputs.dtype)
        return int4_by_conversion(inputs, *weights)

    needs = replace(RIGHT8, working_bytes=lambda vectors, outputs, inputs: 1000 * vectors + outputs + inputs)
    calls = fill(int8=(needs,), int4=(replace(RIGHT4, product=noted),))
    for layer, expected in zip(layers(64), (4072, 0), strict=True):
        layer.to("meta")  # weights that are moved only for the run
        few, many = (layer.conversion_bytes(vectors, torch.bfloat16, CPU) for vectors in (4, 5))
        assert few == expected
        assert many == max((8 * 64 + 5 * 64) * 2, 8 * 5 * 8) if expected else many == 8 * 64 * 3
    assert set(dtypes) == {torch.bfloat16}
    assert len(calls) == 4  # tried once
    same = torch.device("cpu", 0)
    assert kernels.fastest(kernels.INT4, same, torch.bfloat16, 4, 8, 64) is kernels.INT4.kernels[0]
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


def test_an_estimate_counts_the_layer_that_needs_most(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = workspace.pass_bytes(pipe, 1, 2, 3)
    smallest = pipe.model.body.layers[0].self_attn.o_proj
    monkeypatch.setattr(
        workspace.registry, "conversion_bytes", lambda layer, *call: 1000 if layer is smallest else 10
    )
    assert workspace.pass_bytes(pipe, 1, 2, 3) == plain + 1000


def test_memory_that_ran_out_says_nothing_about_a_kernel(fill: Fill) -> None:
    errors = [RuntimeError("Triton Error: out of memory"), torch.OutOfMemoryError("CUDA out of memory")]

    def full(*arguments: Any) -> Tensor:
        if errors:
            raise errors.pop()
        return int4_by_conversion(*arguments)

    fill(int4=(replace(RIGHT4, product=full),))
    with pytest.raises(torch.OutOfMemoryError):
        kernels.fastest(kernels.INT4, CPU, torch.float32, 1, 8, 64)
    _, int4 = layers(64)
    assert int4.conversion_bytes(1, torch.float32, CPU) > 0  # as if it were dequantized
    assert int4.conversion_bytes(1, torch.float32, CPU) == 0
    assert errors == []


def crash(*_: object) -> Tensor:
    raise OSError("no compiler")


def wrong(inputs: Tensor, weight: Tensor, *_: object) -> Tensor:
    return inputs.new_zeros(len(inputs), len(weight))


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (crash, "broken of 8-bit weights is not used on cpu: no compiler"),
        (wrong, "broken of 8-bit weights is wrong in torch.float32 on cpu"),
    ],
)
def test_the_next_kernel_is_taken_where_the_first_is_not_right(
    fill: Fill, caplog: pytest.LogCaptureFixture, product: Callable[..., Tensor], message: str
) -> None:
    calls = fill(int8=(replace(RIGHT8, name="broken", product=product), RIGHT8))
    int8, _ = layers(64)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            int8(torch.randn(2, 64))
    assert [record.message for record in caplog.records] == [message]  # tried once
    assert calls == [3, 3, 4, 2, 2]  # the broken one, and twice the other, before it gets both inputs
    calls = fill(int8=(replace(RIGHT8, product=product),))
    int8(torch.randn(2, 64))
    assert calls == [3]  # the weights are dequantized


@pytest.mark.parametrize("form", [INT8, INT4], ids=["int8", "int4"])
def test_the_tables_hold_what_is_said_of_them(form: kernels.Format) -> None:
    names = [kernel.name for kernel in form.kernels if "cuda" in kernel.device_types]
    assert names == (["Triton", "_int_mm"] if form is INT8 else ["Triton"])
    shapes = ((4096, 4096, True), (2048, 2048, False), (4097, 4096, False), (4096, 4100, False))
    taken = [kernel.takes(outputs, inputs) for kernel in form.kernels[1:2] for outputs, inputs, _ in shapes]
    assert taken == [takes for *_, takes in shapes][: len(taken)]
