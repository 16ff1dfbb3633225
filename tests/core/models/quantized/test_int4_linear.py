"""4-bit layers: their formula, to the last bit, and the error of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from janus_nodes.janus_core.models.quantized import int4_linear
from janus_nodes.janus_core.models.quantized.dequantize import dequantized
from janus_nodes.janus_core.models.quantized.int4_linear import GROUP, Int4Embedding, Int4Linear
from janus_nodes.janus_core.models.quantized.int8_linear import Int8Linear
from torch import Tensor
from torch.overrides import TorchFunctionMode

SHAPE = (80, 3 * GROUP)


def values(layer: Int4Linear) -> Tensor:
    """The weights that a layer holds, column by column as its layout says."""
    columns = []
    for column in range(layer.in_features):
        code = layer.weight[:, column // 2] >> (4 if column % 2 else 0) & 15
        group = column // GROUP
        columns.append((code.float() - 8) * layer.scale[:, group].float() + layer.zero[:, group].float())
    return torch.stack(columns, dim=1)


def random_weight(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * 0.02


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("length", [0, 1, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_layer_computes_its_formula(dtype: torch.dtype, length: int, bias: bool) -> None:
    layer = Int4Linear(random_weight(), torch.randn(SHAPE[0]) if bias else None)
    inputs = torch.randn(length, 3, SHAPE[1], generator=torch.Generator().manual_seed(1)).to(dtype)[:, -2:]
    outputs = layer(inputs)
    assert outputs.dtype == dtype
    expected = F.linear(inputs.double(), values(layer).double(), None if not bias else layer.bias.double())
    assert outputs.shape == expected.shape
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}[dtype]
    assert (outputs.double() - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float32, 0, 1e-6), (torch.bfloat16, 2**-7, 2**-9)]
)
def test_a_row_of_a_batch_is_the_single_row(dtype: torch.dtype, rtol: float, atol: float) -> None:
    layer = Int4Linear(random_weight(), None)
    inputs = torch.randn(20, SHAPE[1], generator=torch.Generator().manual_seed(1)).to(dtype)
    alone = torch.cat([layer(row[None]) for row in inputs])
    torch.testing.assert_close(layer(inputs), alone, rtol=rtol, atol=atol)  # one step of the dtype


def test_dequantized_weights_are_exact_in_float32() -> None:
    layer = Int4Linear(random_weight(), None)
    found = dequantized(layer.weight, layer.scale, layer.zero, GROUP, torch.float32)
    torch.testing.assert_close(found, values(layer), rtol=2**-23, atol=0)


class OldMac(TorchFunctionMode):
    """Computes as PyTorch 2.5 does on a Mac, which does not shift uint8, and has no aminmax."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs a function of PyTorch."""
        name = func.__name__
        if name == "aminmax":
            raise NotImplementedError(name)
        return args[0] if "shift" in name else func(*args, **(kwargs or {}))


def test_a_mac_makes_and_dequantizes_the_same_weights() -> None:
    expected = Int4Linear(random_weight(), None)
    with OldMac():
        layer = Int4Linear(random_weight(), None)
        found = dequantized(layer.weight, layer.scale, layer.zero, GROUP, torch.float32)
    assert torch.equal(layer.weight, expected.weight)
    torch.testing.assert_close(found, values(expected), rtol=2**-23, atol=0)


@pytest.mark.parametrize("rows", [1, 17])
def test_rows_may_come_in_any_pieces(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    weight = random_weight()
    expected = Int4Linear(weight, None)
    monkeypatch.setattr(int4_linear, "_MAX_FITTED_ELEMENTS", 1000)
    layer = Int4Linear(torch.empty(SHAPE, device="meta"), None).to_empty(device="cpu")
    for start in range(0, len(weight), rows):
        layer.put(start, weight[start : start + rows])
    for name, parameter in expected.named_parameters():
        assert torch.equal(layer.get_parameter(name), parameter), name


def rounded_plainly(weight: Tensor) -> Tensor:
    """16 evenly spaced values from the smallest to the largest weight of each group."""
    groups = weight.unflatten(1, (-1, GROUP))
    low, high = groups.aminmax(dim=-1, keepdim=True)
    scale = (high - low) / 15
    return (((groups - low) / scale).round() * scale + low).flatten(1)


@pytest.mark.parametrize(("tail", "most"), [(1000.0, 0.94), (4.0, 0.95)], ids=["normal", "heavy-tailed"])
def test_fitted_weights_are_nearer_than_plainly_rounded_ones(tail: float, most: float) -> None:
    torch.manual_seed(0)
    weight = torch.distributions.StudentT(tail).sample((64, 8 * GROUP)) * 0.02
    plain = (rounded_plainly(weight) - weight).norm()
    assert (values(Int4Linear(weight, None)) - weight).norm() < most * plain
    layer = Int8Linear(weight, None)
    assert (layer.weight * layer.scale[:, None] - weight).norm() < plain / 4


def test_weights_without_spread_are_kept() -> None:
    weight = torch.zeros(3, GROUP)
    weight[1], weight[2, ::2] = 0.25, 0.5  # one value, and two
    torch.testing.assert_close(values(Int4Linear(weight, None)), weight, rtol=0, atol=2e-3)


def test_a_table_looks_up_rows_of_its_weights() -> None:
    table = Int4Embedding(torch.randn(10, 128, generator=torch.Generator().manual_seed(0)), None)
    rows = dequantized(table.weight, table.scale, table.zero, GROUP, torch.bfloat16)
    ids = torch.tensor([[3, 0, 9], [3, 1, 2]])
    assert torch.equal(table(ids), rows[ids])
    assert table(ids[:, :0]).shape == (2, 0, 128)
