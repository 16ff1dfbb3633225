"""Packed and quantized layers: as close to `nn.Linear` as their number format allows, on every path."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from janus_nodes.janus_core import (
    DEMONSTRATION,
    JanusPipeline,
    TokenSampling,
    load_pipeline,
    save_checkpoint,
    weight_bytes,
)
from janus_nodes.janus_core.checkpoints.precision import resolve_precision
from janus_nodes.janus_core.models.cache import NoCache
from janus_nodes.janus_core.models.cpu import packed_linear
from janus_nodes.janus_core.models.cpu.fbgemm_int8_linear import FbgemmInt8Linear
from janus_nodes.janus_core.models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
from janus_nodes.janus_core.models.quantized import int8_linear
from janus_nodes.janus_core.models.quantized.inference_linear import InferenceLinear
from janus_nodes.janus_core.models.quantized.int8_linear import Int8Linear
from janus_nodes.janus_core.training.loop import check_trainable
from support.checkpoints import edit_tensors, small_config, write_checkpoint
from support.parametrize import slow_except
from torch import Tensor, nn

REPO_ROOT = Path(__file__).resolve().parents[4]
LENGTHS = slow_except((0, 1, 2, 3, 16, 200), 0, 1, 3)  # of the inputs of a layer
needs_fp16 = pytest.mark.skipif(not FbgemmFp16Linear.is_available(), reason="needs FBGEMM's kernels")
needs_bf16 = pytest.mark.skipif(not OneDnnBf16Linear.is_available(), reason="needs a CPU with bf16")
needs_int8 = pytest.mark.skipif(not FbgemmInt8Linear.is_available(), reason="needs FBGEMM's kernels")


@pytest.fixture(scope="module")
def demonstration() -> Callable[[str], JanusPipeline]:
    """Loads the built-in demonstration checkpoint once in each precision."""
    return lru_cache(lambda precision: load_pipeline(DEMONSTRATION, dtype=precision))


@pytest.fixture(params=[None, 1000], ids=["one chunk", "chunks"])
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs and quantizes weights at once, and in several chunks of output channels."""
    if request.param:
        monkeypatch.setattr(packed_linear, "_MAX_PACKING_ELEMENTS", request.param)
        monkeypatch.setattr(int8_linear, "_MAX_QUANTIZING_ELEMENTS", request.param)


def plain_layer(bias: bool, inputs: int = 192) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(inputs, 80, bias=bias).requires_grad_(False)
    layer.weight.copy_(layer.weight.bfloat16())
    return layer


@needs_fp16
@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("length", LENGTHS[1:])
@pytest.mark.parametrize("bias", [False, True])
def test_packed_fp16_layer_equals_pytorchs_with_the_same_bf16_weights(length: int, bias: bool) -> None:
    layer = plain_layer(bias)
    packed = FbgemmFp16Linear(layer.weight, layer.bias)
    inputs = torch.randn(2, length, 192)
    assert torch.allclose(packed(inputs), layer(inputs), atol=1e-5)
    assert packed(inputs).dtype == torch.float32 and packed(inputs.bfloat16()).dtype == torch.bfloat16


@needs_bf16
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("size", [5, 192])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_bf16_layer_equals_pytorchs(length: int, size: int, bias: bool, dtype: torch.dtype) -> None:
    layer = plain_layer(bias, size).bfloat16()
    packed = OneDnnBf16Linear(layer.weight, layer.bias)
    inputs = torch.randn(length, 3, size).to(dtype)[:, -2:]
    outputs, expected = packed(inputs), layer(inputs.bfloat16())
    assert outputs.dtype == dtype
    assert outputs.shape == expected.shape
    torch.testing.assert_close(outputs.bfloat16(), expected, rtol=2**-7, atol=2**-9)  # one step of bf16


@needs_int8
@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("size", [5, 31, 192])
@pytest.mark.parametrize("bias", [False, True])
def test_packed_int8_layer_rounds_only_the_weights(length: int, size: int, bias: bool) -> None:
    layer = plain_layer(bias, size)
    packed, rounded = FbgemmInt8Linear(layer.weight, layer.bias), Int8Linear(layer.weight, layer.bias)
    # Input vectors of different magnitudes, one of them zero.
    inputs = (torch.randn(length, 4, size) * torch.tensor([1.0, 0.0, 1.0, 900.0])[:, None])[:, -3:]
    expected = F.linear(inputs, rounded.weight * rounded.scale[:, None], rounded.bias)
    outputs = packed(inputs)
    assert outputs.shape == expected.shape and outputs.dtype == torch.float32
    assert (outputs - expected).norm() <= 2e-4 * expected.norm()


@needs_int8
@pytest.mark.parametrize("outlier", [1.0, 25.0, 1000.0])
def test_packed_int8_layer_is_precise_beside_an_outlier(outlier: float) -> None:
    layer = plain_layer(bias=False, inputs=2048)
    layer.weight[:, 0] = 0  # so that the outlier itself does not hide the error of the other elements
    packed, rounded = FbgemmInt8Linear(layer.weight, None), Int8Linear(layer.weight, None)
    inputs = torch.randn(2, 2048)
    inputs[0, 0] = outlier
    expected = F.linear(inputs, rounded.weight * rounded.scale[:, None])
    error = (packed(inputs) - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() <= 2**-9  # that of bf16


@pytest.mark.slow
def test_packing_shows_no_warning_and_leaves_the_warnings_filters_alone() -> None:
    program = """
import sys, warnings, torch
sys.path.insert(0, sys.argv[1])
filters = list(warnings.filters)
from janus_core.models.cpu.fbgemm_int8_linear import FbgemmInt8Linear
from janus_core.models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
warnings.simplefilter("error")
filters.insert(0, warnings.filters[0])
for layer_class in (FbgemmFp16Linear, OneDnnBf16Linear, FbgemmInt8Linear):
    if layer_class.is_available():
        layer_class(torch.ones(8, 8), None)(torch.ones(1, 8))
assert warnings.filters == filters
"""
    subprocess.run([sys.executable, "-c", program, str(REPO_ROOT)], check=True)


@pytest.mark.parametrize(
    ("precision", "bytes_per_weight"), [("fp32", 4), ("fp16", 2), ("bf16", 2), ("int8", 1), ("int4", 0.5625)]
)
def test_each_precision_takes_its_bytes_per_weight(
    demonstration: Callable[[str], JanusPipeline], precision: str, bytes_per_weight: int
) -> None:
    body = demonstration(precision).model.body
    layers = nn.ModuleList(body.layers)
    count = sum(
        layer.in_features * layer.out_features
        for layer in layers.modules()
        if isinstance(layer, nn.Linear | InferenceLinear)
    )
    # Besides the matrices there are the norms, and the scales of int8 layers.
    assert count * bytes_per_weight < weight_bytes(layers) < 1.05 * count * bytes_per_weight


@needs_fp16
def test_packed_model_draws_the_same_tokens(demonstration: Callable[[str], JanusPipeline]) -> None:
    options = TokenSampling(temperature=0.0, guidance_scale=2.0)
    expected = demonstration("fp32").generate("A red star.", options, pixels=False)
    drawn = demonstration("fp16").generate("A red star.", options, pixels=False)
    assert torch.equal(drawn.tokens, expected.tokens)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_model_with_packed_layers_is_neither_trained_nor_saved(
    demonstration: Callable[[str], JanusPipeline], tmp_path: Path, precision: str
) -> None:
    if precision != "int8" and resolve_precision(precision, "cpu").packed is None:
        pytest.skip("this CPU has no packed layers")
    pipeline = demonstration(precision)
    expected = "model must have no packed or quantized layers, got .+Linear; load it with dtype=torch"
    with pytest.raises(ValueError, match=expected):
        save_checkpoint(pipeline, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(ValueError, match=expected):
        check_trainable(pipeline)


@pytest.mark.parametrize("precision", slow_except(["fp16", "bf16", "int8"], "int8"))
def test_tied_head_has_the_weights_of_the_embedding(tmp_path: Path, precision: str) -> None:
    write_checkpoint(tmp_path / "model", small_config(tie=True))
    edit_tensors(tmp_path / "model", lambda tensors: tensors.pop("language_model.lm_head.weight"))
    exact = load_pipeline(tmp_path / "model", dtype=torch.float32).model.body
    tied = load_pipeline(tmp_path / "model", dtype=precision).model.body
    states = torch.randn(4, exact.config.hidden_size).to(tied.norm.weight.dtype)
    expected = exact.lm_head(states.float())
    assert (tied.lm_head(states).float() - expected).norm() < 0.012 * expected.norm()


def likeliest(pipe: JanusPipeline, prompt: str, tokens: Tensor) -> Tensor:
    """The likeliest token at each position of an image, given the tokens before it."""
    batch = pipe.prompts.generation(prompt, "", use_cfg=False, num_new=tokens.shape[1])
    given = pipe.model.generation.embed_tokens(tokens[:, :-1])
    embeds = torch.cat((pipe.model.embed_prompt(batch), given), dim=1)
    states = pipe.model.body(embeds, torch.arange(embeds.shape[1])[None], NoCache())
    return pipe.model.generation.head(states[:, batch.length - 1 :]).argmax(dim=-1)


@pytest.mark.slow
@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.98), ("int8", 0.97)])
def test_packed_model_takes_the_same_greedy_tokens(
    demonstration: Callable[[str], JanusPipeline], precision: str, least: float
) -> None:
    exact, packed = demonstration("fp32"), demonstration(precision)
    options = TokenSampling(temperature=0.0, guidance_scale=1.0)
    prompts = ("a red star", "three green triangles", "a blue circle left of a yellow cross", "a pink ring")
    drawn = [exact.generate(prompt, options).tokens for prompt in prompts]
    same = [likeliest(packed, *case) == likeliest(exact, *case) for case in zip(prompts, drawn, strict=True)]
    assert torch.cat(same).float().mean() >= least
