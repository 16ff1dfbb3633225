"""What a named precision means on each device."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.checkpoints import precision as module
from janus_nodes.janus_core.checkpoints.precision import Precision, resolve_precision
from janus_nodes.janus_core.models.cpu.fbgemm_int8_linear import FbgemmInt8Linear
from janus_nodes.janus_core.models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
from janus_nodes.janus_core.models.quantized.int4_linear import Int4Embedding, Int4Linear
from janus_nodes.janus_core.models.quantized.int8_linear import Int8Linear

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
        ("int8", "cuda", True, True, Precision(torch.bfloat16, quantized="int8")),
        ("int8", "cpu", True, True, Precision(torch.float32, OneDnnBf16Linear, "int8 for FBGEMM")),
        ("int8", "cpu", False, True, Precision(torch.float32, FbgemmFp16Linear, "int8 for FBGEMM")),
        ("int8", "cpu", False, False, Precision(torch.float32, quantized="int8")),
        ("int4", "cuda", True, True, Precision(torch.bfloat16, quantized="int4")),
        ("int4", "cpu", True, True, Precision(torch.bfloat16, quantized="int4")),
        ("int4", "cpu", False, True, Precision(torch.float32, FbgemmFp16Linear, "int4")),
        ("int4", "cpu", False, False, Precision(torch.float32, quantized="int4")),
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
        ("x86_64", True, False, False),  # AVX512 alone: oneDNN emulates bf16
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
    assert resolve_precision("int8", "cpu") == Precision(torch.bfloat16, quantized="int8")


def test_unknown_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"must be auto, bf16, fp16, fp32, int8, int4 or a torch\.dtype, got 'int3'"
    ):
        resolve_precision("int3", "cpu")


@pytest.mark.parametrize(
    ("quantized", "layer", "in_features", "expected"),
    [
        ("int8", "body.layers.0.mlp.down_proj", 80, Int8Linear),
        ("int8 for FBGEMM", "body.layers.0.mlp.down_proj", 80, FbgemmInt8Linear),
        ("int8", "generation.head.vision_head", 64, Int8Linear),
        ("int8", "understanding.tower.blocks.0.mlp.fc1", 64, None),
        ("int4", "body.layers.0.mlp.down_proj", 128, Int4Linear),
        ("int4", "body.layers.0.mlp.down_proj", 80, Int8Linear),  # no whole groups
        ("int4", "body.lm_head", 128, Int8Linear),
        ("int4", "body.embed_tokens", 128, Int4Embedding),
        ("int4", "body.embed_tokens", 80, None),
        ("int4", "understanding.tower.blocks.0.mlp.fc1", 61, Int8Linear),
        ("int4", "generation.vq.post_quant_conv", 64, None),
    ],
)
def test_parts_have_the_bits_that_their_quality_needs(
    quantized: str, layer: str, in_features: int, expected: type | None
) -> None:
    assert Precision(torch.bfloat16, quantized=quantized).quantized_class(layer, in_features) is expected
    assert Precision(torch.bfloat16).layer_class(layer, in_features) is None
    packed = Precision(torch.float32, FbgemmFp16Linear, quantized)
    assert packed.layer_class(layer, in_features) is (expected or FbgemmFp16Linear)
