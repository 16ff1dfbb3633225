"""How many tokens are drawn in a pass: what the options say, else the table, and one elsewhere."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from janus_nodes.janus_core.sampling import lookahead
from janus_nodes.janus_core.sampling.lookahead import window
from support.checkpoints import random_model, small_config
from torch import nn


def test_the_options_decide_up_to_the_size_of_an_image(pipe: JanusPipeline) -> None:
    assert [window(pipe.model, count, 100) for count in (1, 5, 16, 17)] == [1, 5, 16, 16]


def test_no_more_vectors_are_read_than_layers_read_alike(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "exact_vectors", lambda body: 32)
    assert [window(pipe.model, 8, count) for count in (2, 6, 16, 40)] == [8, 5, 2, 1]


def test_otherwise_the_sequences_share_the_vectors_of_the_table(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "_VECTORS", {nn.Linear: (16, 4)})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert [window(pipe.model, None, count) for count in (1, 2, 4, 6, 16, 24)] == [8, 8, 4, 2, 1, 1]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert [window(pipe.model, None, count) for count in (1, 2, 4, 6)] == [4, 2, 1, 1]


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "int8"])
def test_every_packed_layer_has_a_row(golden_root: object, pipe: JanusPipeline, dtype: str) -> None:
    model = load_pipeline(pipe.folder, dtype=dtype).model
    layer = model.body.get_submodule("layers.0.mlp.gate_up_proj")
    if model.body.norm.weight.dtype is torch.float32:  # else the format has no packed layers on this machine
        assert isinstance(layer, tuple(lookahead._VECTORS))


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.bfloat16), ("meta", torch.float32)])
def test_elsewhere_drawing_is_plain(device: str, dtype: torch.dtype) -> None:
    assert window(random_model(small_config()).to(device, dtype), None, 1) == 1
