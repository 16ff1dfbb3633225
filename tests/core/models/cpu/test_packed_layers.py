"""Layers with narrow weights: as near to whole ones as their number format allows, on every path."""

from __future__ import annotations

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
from janus_nodes.janus_core.models.cpu import int8_linear, packed_linear
from janus_nodes.janus_core.models.cpu.int8_linear import Int8Linear, PackedInt8Linear
from janus_nodes.janus_core.models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
from janus_nodes.janus_core.models.cpu.registry import NarrowLinear
from janus_nodes.janus_core.training.loop import check_trainable
from support.checkpoints import edit_tensors, small_config, write_checkpoint
from torch import Tensor, nn

ROWS = (1, 2, 3, 16, 200)
packs = pytest.mark.skipif(not FbgemmFp16Linear.is_available(), reason="needs FBGEMM's kernels")


@pytest.fixture(params=[None, 1000], ids=["one block", "blocks"])
def widened_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs and rounds layers at once, and in several blocks of rows."""
    if request.param:
        monkeypatch.setattr(packed_linear, "_WIDENED_AT_ONCE", request.param)
        monkeypatch.setattr(int8_linear, "_ROUNDED_AT_ONCE", request.param)


def wide_layer(bias: bool, inputs: int = 192) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(inputs, 80, bias=bias).requires_grad_(False)
    layer.weight.copy_(layer.weight.bfloat16())
    return layer


@packs
@pytest.mark.usefixtures("widened_at_once")
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("bias", [False, True])
def test_packed_layer_equals_one_of_the_same_bf16_weights(rows: int, bias: bool) -> None:
    layer = wide_layer(bias)
    packed = FbgemmFp16Linear(layer.weight, layer.bias)
    inputs = torch.randn(2, rows, 192)
    assert torch.allclose(packed(inputs), layer(inputs), atol=1e-5)
    assert packed(inputs).dtype == torch.float32


@pytest.mark.skipif(not OneDnnBf16Linear.is_available(), reason="needs a CPU that oneDNN multiplies bf16 on")
@pytest.mark.parametrize("rows", [0, *ROWS])
@pytest.mark.parametrize("columns", [5, 192])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_bf16_layer_equals_pytorchs(rows: int, columns: int, bias: bool, dtype: torch.dtype) -> None:
    layer = wide_layer(bias, columns).bfloat16()
    packed = OneDnnBf16Linear(layer.weight, layer.bias)
    inputs = torch.randn(rows, 3, columns).to(dtype)[:, -2:]
    outputs, expected = packed(inputs), layer(inputs.bfloat16())
    assert outputs.dtype == dtype
    assert outputs.shape == expected.shape
    torch.testing.assert_close(outputs.bfloat16(), expected, rtol=2**-7, atol=2**-9)  # one step of bf16


@pytest.mark.usefixtures("widened_at_once")
@pytest.mark.parametrize("rows", [0, *ROWS])
@pytest.mark.parametrize("columns", [5, 20, 31, 192])  # the kernel knows whole blocks only
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int8_layer_is_within_its_rounding(rows: int, columns: int, bias: bool, dtype: torch.dtype) -> None:
    layer = wide_layer(bias, columns)
    narrow = Int8Linear(layer.weight, layer.bias)
    inputs = torch.randn(rows, 3, columns).to(dtype)[:, -2:]
    outputs, expected = narrow(inputs), layer(inputs.float())
    assert outputs.dtype == dtype
    assert outputs.shape == expected.shape
    # 127 steps to the largest weight of an output, and products of bf16.
    assert (outputs.float() - expected).norm() <= 0.012 * expected.norm()


@pytest.mark.skipif(not PackedInt8Linear.is_available(), reason="needs FBGEMM's kernels")
@pytest.mark.usefixtures("widened_at_once")
@pytest.mark.parametrize("rows", [0, *ROWS])
@pytest.mark.parametrize("columns", [5, 31, 192])
@pytest.mark.parametrize("bias", [False, True])
def test_packed_int8_layer_rounds_weights_alone(rows: int, columns: int, bias: bool) -> None:
    layer = wide_layer(bias, columns)
    packed, rounded = PackedInt8Linear(layer.weight, layer.bias), Int8Linear(layer.weight, layer.bias)
    # Rows of different sizes, one of them zero.
    inputs = (torch.randn(rows, 4, columns) * torch.tensor([1.0, 0.0, 1.0, 900.0])[:, None])[:, -3:]
    expected = F.linear(inputs, rounded.weight * rounded.scale[:, None], rounded.bias)
    outputs = packed(inputs)
    assert outputs.shape == expected.shape and outputs.dtype == torch.float32
    assert (outputs - expected).norm() <= 2e-4 * expected.norm()


@pytest.mark.skipif(not PackedInt8Linear.is_available(), reason="needs FBGEMM's kernels")
@pytest.mark.parametrize("far_out", [1.0, 25.0, 1000.0])
def test_packed_int8_layer_keeps_what_stands_beside_a_number_far_out(far_out: float) -> None:
    layer = wide_layer(bias=False, inputs=2048)
    layer.weight[:, 0] = 0  # what is far out has no part in the outputs; its company has
    packed, rounded = PackedInt8Linear(layer.weight, None), Int8Linear(layer.weight, None)
    inputs = torch.randn(2, 2048)
    inputs[0, 0] = far_out
    expected = F.linear(inputs, rounded.weight * rounded.scale[:, None])
    error = (packed(inputs) - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() <= 2**-9  # that of bf16


def test_int8_weights_are_the_nearest_whole_numbers() -> None:
    weight = torch.tensor([[0.0, 1.0, -2.54], [0.0, 0.0, 0.0]])
    narrow = Int8Linear(weight, None)
    assert narrow.weight.tolist() == [[0, 50, -127], [0, 0, 0]]
    assert torch.isfinite(narrow(torch.ones(1, 3))).all()


@pytest.mark.parametrize(
    ("precision", "bytes_per_weight"), [("fp32", 4), ("fp16", 2), ("bf16", 2), ("int8", 1)]
)
def test_weights_take_the_bytes_that_they_are_said_to(precision: str, bytes_per_weight: int) -> None:
    body = load_pipeline(DEMONSTRATION, dtype=precision).model.body
    layers = nn.ModuleList(body.layers)
    count = sum(
        layer.in_features * layer.out_features
        for layer in layers.modules()
        if isinstance(layer, nn.Linear | NarrowLinear)
    )
    # Beside the matrices there are the norms, and one factor for each output of an int8 layer.
    assert count * bytes_per_weight < weight_bytes(layers) < 1.05 * count * bytes_per_weight


@packs
def test_packed_model_draws_the_same_tokens() -> None:
    options = TokenSampling(temperature=0.0, guidance_scale=2.0)
    expected = load_pipeline(DEMONSTRATION, dtype="fp32").generate("A red star.", options)
    drawn = load_pipeline(DEMONSTRATION, dtype="fp16").generate("A red star.", options)
    assert torch.equal(drawn.tokens, expected.tokens)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_model_of_narrow_weights_is_neither_trained_nor_saved(tmp_path: Path, precision: str) -> None:
    if precision != "int8" and resolve_precision(precision, "cpu").packed is None:
        pytest.skip("then it is PyTorch's own")
    pipeline = load_pipeline(DEMONSTRATION, dtype=precision)
    expected = "model must hold whole weights to be trained or saved, got .+ layers, as named precisions give"
    with pytest.raises(ValueError, match=expected):
        save_checkpoint(pipeline, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(ValueError, match=expected):
        check_trainable(pipeline)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_tied_head_has_the_weights_of_the_embedding(tmp_path: Path, precision: str) -> None:
    write_checkpoint(tmp_path / "model", small_config(tie=True))
    edit_tensors(tmp_path / "model", lambda tensors: tensors.pop("language_model.lm_head.weight"))
    exact = load_pipeline(tmp_path / "model", dtype=torch.float32).model.body
    tied = load_pipeline(tmp_path / "model", dtype=precision).model.body
    states = torch.randn(4, exact.config.hidden_size).to(tied.norm.weight.dtype)
    expected = exact.lm_head(states.float())
    assert (tied.lm_head(states).float() - expected).norm() < 0.012 * expected.norm()


def likeliest(pipe: JanusPipeline, prompt: str, tokens: Tensor) -> Tensor:
    """The likeliest token at each place of an image whose former tokens are given."""
    rows = pipe.prompts.generation(prompt, "", use_cfg=False, num_new=tokens.shape[1])
    given = pipe.model.generation.embed_tokens(tokens[:, :-1])
    embeds = torch.cat((pipe.model.embed_prompt(rows), given), dim=1)
    states = pipe.model.body(embeds, torch.arange(embeds.shape[1])[None], NoCache())
    return pipe.model.generation.head(states[:, rows.length - 1 :]).argmax(dim=-1)


@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.98), ("int8", 0.97)])
def test_narrow_model_takes_the_same_greedy_tokens(precision: str, least: float) -> None:
    exact, narrow = load_pipeline(DEMONSTRATION, dtype="fp32"), load_pipeline(DEMONSTRATION, dtype=precision)
    options = TokenSampling(temperature=0.0, guidance_scale=1.0)
    prompts = ("a red star", "three green triangles", "a blue circle left of a yellow cross", "a pink ring")
    drawn = [exact.generate(prompt, options).tokens for prompt in prompts]
    same = [likeliest(narrow, *row) == likeliest(exact, *row) for row in zip(prompts, drawn, strict=True)]
    assert torch.cat(same).float().mean() >= least
