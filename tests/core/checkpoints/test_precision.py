"""What a named precision means on each device."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.checkpoints import precision as module
from janus_nodes.janus_core.checkpoints.precision import Precision, resolve_precision
from janus_nodes.janus_core.models.cpu.int8_linear import FbgemmInt8Linear, Int8Linear
from janus_nodes.janus_core.models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear

PACKED_FP16 = Precision(torch.float32, packed=FbgemmFp16Linear)
PACKED_BF16 = Precision(torch.float32, packed=OneDnnBf16Linear)
BF16, FP16, FP32 = Precision(torch.bfloat16), Precision(torch.float16), Precision(torch.float32)


@pytest.mark.parametrize(
    ("name", "device", "fast_bf16", "packs", "expected"),
    [
        ("auto", "cuda", True, True, BF16),
        ("auto", "cuda", False, True, FP32),
        ("auto", "cpu", True, True, PACKED_BF16),
        ("auto", "cpu", True, False, BF16),
        ("auto", "cpu", False, True, PACKED_FP16),
        ("auto", "cpu", False, False, FP32),
        ("bf16", "cuda", False, True, BF16),
        ("bf16", "cpu", True, True, PACKED_BF16),
        ("bf16", "cpu", True, False, BF16),
        ("bf16", "cpu", False, True, PACKED_FP16),
        ("bf16", "cpu", False, False, BF16),
        ("fp16", "cuda", True, True, FP16),
        ("fp16", "cpu", True, True, PACKED_FP16),
        ("fp16", "cpu", False, False, FP16),
        ("fp32", "cpu", True, True, FP32),
        ("int8", "cuda", True, True, Precision(torch.bfloat16, int8=True)),
        ("int8", "cpu", True, True, Precision(torch.float32, OneDnnBf16Linear, int8=True)),
        ("int8", "cpu", False, True, Precision(torch.float32, FbgemmFp16Linear, int8=True)),
        ("int8", "cpu", False, False, Precision(torch.float32, int8=True)),
        (torch.bfloat16, "cpu", False, True, BF16),
    ],
)
def test_name_means_what_the_device_is_fast_in(
    monkeypatch: pytest.MonkeyPatch,
    name: str | torch.dtype,
    device: str,
    fast_bf16: bool,
    packs: bool,
    expected: Precision,
) -> None:
    monkeypatch.setattr(module, "has_fast_bf16", lambda device_type: fast_bf16)
    for layer in (FbgemmFp16Linear, OneDnnBf16Linear, FbgemmInt8Linear):
        monkeypatch.setattr(layer, "is_available", staticmethod(lambda: packs))
    assert resolve_precision(name, device) == expected


@pytest.mark.parametrize(
    ("machine", "supported", "instruction", "expected"),
    [
        ("x86_64", True, True, True),
        ("x86_64", True, False, False),  # AVX512 alone: oneDNN widens
        ("AMD64", False, False, False),
        ("aarch64", True, False, True),
        ("arm64", False, False, False),
    ],
)
def test_cpuhas_fast_bf16_where_it_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, machine: str, supported: bool, instruction: bool, expected: bool
) -> None:
    monkeypatch.setattr(module.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instruction)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert module.has_fast_bf16("cpu") is expected


def test_int8_without_fbgemm_computes_in_bf16_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_fast_bf16", lambda device_type: True)
    monkeypatch.setattr(OneDnnBf16Linear, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(FbgemmInt8Linear, "is_available", staticmethod(lambda: False))
    assert resolve_precision("int8", "cpu") == Precision(torch.bfloat16, int8=True)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"must be auto, bf16, fp16, fp32, int8 or a torch\.dtype, got 'int3'"
    ):
        resolve_precision("int3", "cpu")


def test_int8_is_for_the_parts_that_every_decode_step_reads() -> None:
    precision = Precision(torch.bfloat16, int8=True)
    assert precision.layer_class("body.layers.0.mlp.down_proj") is Int8Linear
    assert precision.layer_class("generation.head.vision_head") is Int8Linear
    assert precision.layer_class("understanding.tower.blocks.0.mlp.fc1") is None


@pytest.mark.parametrize(("has_kernels", "expected"), [(True, FbgemmInt8Linear), (False, Int8Linear)])
def test_int8_is_packed_where_fbgemm_is_available(
    monkeypatch: pytest.MonkeyPatch, has_kernels: bool, expected: type
) -> None:
    monkeypatch.setattr(FbgemmInt8Linear, "is_available", staticmethod(lambda: has_kernels))
    precision = Precision(torch.float32, packed=FbgemmFp16Linear, int8=True)
    assert precision.layer_class("body.layers.0.mlp.down_proj") is expected
    assert precision.layer_class("understanding.tower.blocks.0.mlp.fc1") is FbgemmFp16Linear
    assert Precision(torch.bfloat16, int8=True).layer_class("understanding.aligner.layers.0") is None
