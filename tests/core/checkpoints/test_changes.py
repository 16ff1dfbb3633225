"""Changes of adapters: float32 sums, rounded once, in every dtype and by every kernel."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.checkpoints import changes as module
from janus_nodes.janus_core.checkpoints.changes import Change, LowRankChange, Replacement, add_changes
from janus_nodes.janus_core.checkpoints.precision import has_fast_bf16
from torch import Tensor

ROWS, COLUMNS, START = 600, 512, 100


def random(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0, seed: int = 0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def low_rank(start: int, rows: int, factor: float, dtype: torch.dtype, seed: int) -> LowRankChange:
    up = random(rows, 16, dtype=dtype, scale=1e-3, seed=seed)
    return LowRankChange(start, up, random(16, COLUMNS, dtype=dtype, seed=seed + 1), factor)


def exact_sums(weights: Tensor, changes: list[LowRankChange]) -> Tensor:
    """Float64 sums of rows from START on."""
    sums = torch.cat((torch.zeros(START, COLUMNS), weights, torch.zeros(2000, COLUMNS))).double()
    for change in changes:
        sums[change.start : change.stop] += change.factor * (change.up.double() @ change.down.double())
    return sums[START : START + ROWS]


@pytest.mark.parametrize(
    ("dtype", "fast"),
    [(torch.bfloat16, True), (torch.bfloat16, False), (torch.float16, False), (torch.float32, False)],
)
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_the_sum_of_all_changes_is_rounded_once(
    dtype: torch.dtype, stored: torch.dtype, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fast and not has_fast_bf16("cpu"):
        pytest.skip("needs a CPU with bf16 instructions")
    monkeypatch.setattr(module, "has_fast_bf16", lambda device_type: fast)
    weights = random(ROWS, COLUMNS, dtype=dtype, scale=0.02)
    # One of all rows and more, two that overlap it and each other, and one of other rows.
    changes = [
        low_rank(0, 900, 0.37, stored, 1),
        low_rank(START + 50, 200, 2.0, stored, 3),
        low_rank(START + 150, 200, -1.3, stored, 5),
        low_rank(START + ROWS, 10, 1.0, stored, 7),
    ]
    exact = exact_sums(weights, changes)
    add_changes(weights, START, changes)
    rounded = exact.to(dtype)
    excess = (weights.double() - exact).abs() - (rounded.double() - exact).abs()
    assert excess.max() <= 1e-6
    if dtype is not torch.float32:
        assert (weights != rounded).float().mean() < 0.01  # two roundings change a tenth of them and more


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_replacements_start_from_the_base(dtype: torch.dtype) -> None:
    base = random(ROWS, COLUMNS, dtype=dtype)
    whole, product = random(50, COLUMNS, seed=1), low_rank(20, 50, 1.0, torch.float32, 2)
    changes: list[Change] = [product, Replacement(20, whole, 0.5), Replacement(40, whole, 0.25)]
    weights = base.clone()
    add_changes(weights, 0, changes)
    expected = base.float().clone()
    expected[20:70] += product.up @ product.down + 0.5 * (whole - base[20:70].float())
    expected[40:90] += 0.25 * (whole - base[40:90].float())
    torch.testing.assert_close(weights, expected.to(dtype), rtol=2**-7, atol=1e-6)  # an ulp of bf16
    assert torch.equal(weights[90:], base[90:])
