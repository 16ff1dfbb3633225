"""Janus's layers under partial loading; the `meta` device stands in for a GPU that cannot hold everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import comfy.model_management as mm
import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, Precision, TextSampling, TokenSampling, load_pipeline
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.nodes import memory, movable
from janus_nodes.nodes.memory import LoadedJanus
from support.checkpoints import edit_tensors, randomize, small_config, write_checkpoint
from support.patchers import (
    WHOLE,
    cast_all,
    detach,
    device_patchers,
    load_share,
    loaded_size,
    movable_size,
    unload_share,
)

GPU = torch.device("meta")
CPU = torch.device("cpu")
SHARES = (0.0, 1e-6, 0.001, 0.05, 0.3, 0.5, 0.8, 0.95, 0.999, 1.0)


@pytest.fixture
def on_gpu(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedJanus]:
    """The golden checkpoint, to be computed on a GPU."""
    monkeypatch.setattr(mm, "get_torch_device", lambda: GPU)
    loaded = memory.load(checkpoint, "bf16", None)
    devices = {(patcher.load_device, patcher.offload_device) for patcher in device_patchers(loaded)}
    assert devices == {(GPU, CPU)}
    assert loaded.pipeline.device == GPU
    yield loaded


@pytest.fixture
def casting(loaded: LoadedJanus) -> JanusPipeline:
    """The golden checkpoint in float32, with not one layer on the device."""
    cast_all(loaded, CPU)
    assert_all_cast(loaded)
    return loaded.pipeline


def assert_all_cast(loaded: LoadedJanus) -> None:
    layers = [m for m in loaded.pipeline.model.modules() if any(True for _ in m.parameters(recurse=False))]
    assert all(layer.comfy_cast_weights for layer in layers)


def stranded(loaded: LoadedJanus) -> list[str]:
    """Weights that are not on the device of their part, in layers that would not bring them there."""
    return [
        f"{name}.{key}"
        for patcher in loaded.patchers.values()
        for name, module in patcher.model.named_modules()
        for key, parameter in module.named_parameters(recurse=False)
        if parameter.device != patcher.load_device and not getattr(module, "comfy_cast_weights", False)
    ]


def bytes_on(loaded: LoadedJanus, device: torch.device) -> int:
    return sum(p.nbytes for p in loaded.pipeline.model.parameters() if p.device == device)


def test_model_loads_off_the_device(on_gpu: LoadedJanus) -> None:
    assert bytes_on(on_gpu, GPU) == 0


@pytest.mark.parametrize("share", SHARES)
def test_partial_load_strands_no_weight_and_keeps_to_the_budget(on_gpu: LoadedJanus, share: float) -> None:
    load_share(on_gpu, GPU, share)
    assert stranded(on_gpu) == []
    assert bytes_on(on_gpu, GPU) <= share * movable_size(on_gpu)
    if share >= 0.5:
        assert bytes_on(on_gpu, GPU) > 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_every_network_computes_on_the_device_wherever_its_weights_are(
    on_gpu: LoadedJanus, share: float
) -> None:
    load_share(on_gpu, GPU, share)
    model, dtype = on_gpu.pipeline.model, on_gpu.pipeline.dtype
    pixels = torch.empty(1, 3, 64, 64, device=GPU, dtype=dtype)
    ids = torch.empty(1, 16, device=GPU, dtype=torch.int64)
    cache = KVCache(model.config.body, 1, 32, GPU, dtype)
    embeds = model.generation.embed_tokens(ids)
    hidden_states = model.body(embeds, torch.arange(16, device=GPU)[None], cache)
    results = [
        *model.understanding(pixels),
        model.body.lm_head(hidden_states),
        model.generation.head(hidden_states),
        model.generation.encode(pixels),
        model.generation.decode(ids),
    ]
    assert {result.device for result in results} == {GPU}


def test_whole_load_moves_every_weight_but_the_table_and_casts_none(on_gpu: LoadedJanus) -> None:
    load_share(on_gpu, GPU, WHOLE)
    assert bytes_on(on_gpu, CPU) == on_gpu.pipeline.model.body.embed_tokens.weight.nbytes
    assert not any(getattr(m, "comfy_cast_weights", False) for m in on_gpu.pipeline.model.modules())


def test_growing_and_shrinking_budgets_strand_no_weight(on_gpu: LoadedJanus) -> None:
    load_share(on_gpu, GPU, 0.2)
    for share in (0.2, 0.3):
        before = bytes_on(on_gpu, GPU)
        load_share(on_gpu, GPU, share)
        assert stranded(on_gpu) == []
        assert bytes_on(on_gpu, GPU) > before


@pytest.mark.parametrize("share", SHARES)
def test_detach_brings_every_weight_back(checkpoint: Path, share: float) -> None:
    # Weights cannot come back from `meta`; the flags of the layers tell where ComfyUI holds them to be.
    loaded = memory.load(checkpoint, "fp32", None)
    load_share(loaded, CPU, share)
    unload_share(loaded, CPU, 1 / 3)
    detach(loaded)
    assert loaded_size(loaded) == 0
    assert bytes_on(loaded, CPU) == sum(patcher.model_size() for patcher in loaded.patchers.values())
    assert not any(getattr(m, "comfy_cast_weights", False) for m in loaded.pipeline.model.modules())


def test_unloaded_layers_cast(loaded: LoadedJanus) -> None:
    load_share(loaded, CPU, WHOLE)
    assert unload_share(loaded, CPU, 0.5) >= movable_size(loaded) // 2
    gone = [m for m in loaded.pipeline.model.modules() if getattr(m, "comfy_patched_weights", None) is False]
    assert gone
    assert all(module.comfy_cast_weights for module in gone)


def test_weights_that_two_layers_share_are_cast_wherever_they_are(tmp_path: Path) -> None:
    # Moving one of the layers moves the other's weight with it, without ComfyUI knowing.
    write_checkpoint(tmp_path, small_config(vocab_size=448, tie=True))
    edit_tensors(tmp_path, lambda tensors: tensors.pop("language_model.lm_head.weight"))
    loaded = memory.load(tmp_path, "fp32", None)
    body = loaded.pipeline.model.body
    assert body.lm_head.weight is body.embed_tokens.weight
    for share in (WHOLE, 0.0):
        load_share(loaded, CPU, share)
        assert body.lm_head.comfy_cast_weights
        assert body.embed_tokens.comfy_cast_weights
        detach(loaded)
    expected = load_pipeline(tmp_path, dtype=torch.float32).understand(
        None, "abc", TextSampling(max_new_tokens=8)
    )
    assert loaded.pipeline.understand(None, "abc", TextSampling(max_new_tokens=8)) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_casting_layers_give_identical_numbers(checkpoint: Path, dtype: torch.dtype) -> None:
    ours = memory.load(checkpoint, dtype, None)
    cast_all(ours, CPU)
    assert_all_cast(ours)
    expected = numbers(load_pipeline(checkpoint, dtype=ours.pipeline.dtype))
    for name, tensor in numbers(ours.pipeline).items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(("quantized", "most"), [("int8", 0.05), ("int4", 0.25)])
def test_casting_quantized_layers_are_near_to_others(checkpoint: Path, quantized: str, most: float) -> None:
    ours = memory.load(checkpoint, Precision(torch.float32, quantized=quantized), None)
    expected = numbers(load_pipeline(checkpoint, dtype=torch.float32))
    whole = numbers(ours.pipeline)
    cast_all(ours, CPU)
    assert_all_cast(ours)
    for name, tensor in numbers(ours.pipeline).items():
        for found in (tensor, whole[name]):
            assert (found - expected[name]).float().norm() <= most * expected[name].float().norm(), name


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantized_model_is_moved_in_parts_and_computes_in_what_comfyui_holds_to_be_fast(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(mm, "get_torch_device", lambda: GPU)
    monkeypatch.setattr(mm, "should_use_bf16", lambda device: False)
    monkeypatch.setattr(mm, "should_use_fp16", lambda device: True)
    loaded = memory.load(checkpoint, precision, None)
    assert loaded.pipeline.dtype == torch.float16
    load_share(loaded, GPU, 0.5)
    assert stranded(loaded) == []
    assert 0 < bytes_on(loaded, GPU) <= 0.5 * movable_size(loaded)


def numbers(pipeline: JanusPipeline) -> dict[str, torch.Tensor]:
    """What every part of the model computes of the same random inputs."""
    generator = torch.Generator().manual_seed(0)
    model = pipeline.model
    images = torch.rand(2, 40, 64, 3, generator=generator)
    hidden = torch.randn(2, 5, model.config.body.hidden_size, generator=generator).to(pipeline.dtype)
    features = pipeline.encode_vision(images)
    prompt = pipeline.prompts.understanding(["Who?"] * 2, 1, "")
    embeds = model.embed_prompt(prompt, features.image_embeds)
    norms = {
        name: module for name, module in model.named_modules() if type(module).__name__.endswith("RMSNorm")
    }
    with torch.no_grad():
        return {
            "features": features.last_hidden_state,
            "embeds": embeds,
            "text logits": model.body.lm_head(hidden),
            "image logits": model.generation.head(hidden),
            "ids": pipeline.encode_tokens(images[:1]),
            "pixels": pipeline.decode_tokens(torch.arange(2 * pipeline.tokens_per_row)[None]),
            **{name: norm(hidden) for name, norm in norms.items()},
        }


def test_casting_model_gives_the_core_s_answers_and_images(
    casting: JanusPipeline, core: JanusPipeline
) -> None:
    image = torch.rand(2, 33, 64, 3, generator=torch.Generator().manual_seed(1))
    options = TextSampling(max_new_tokens=12, temperature=0.9, seed=5)
    assert casting.understand(image, "What is this?", options) == core.understand(
        image, "What is this?", options
    )
    drawing = TokenSampling(seed=5, batch_size=2)
    assert torch.equal(casting.generate("A lake.", drawing).images, core.generate("A lake.", drawing).images)


def test_rms_norm_in_fp16_casts_its_weight_to_its_input() -> None:
    norm = movable.RMSNorm(24, 1e-6).half()
    randomize(norm)
    hidden = torch.randn(3, 24).half()
    expected = norm(hidden)
    norm.__class__ = movable.MovableRMSNorm
    norm.comfy_cast_weights = True
    assert torch.equal(norm(hidden), expected)


@pytest.mark.parametrize(
    ("bf16", "fp16", "expected"),
    [(True, True, torch.bfloat16), (False, True, torch.float16), (False, False, torch.float32)],
)
def test_auto_precision_is_what_comfyui_holds_to_be_fast(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool, fp16: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(mm, "get_torch_device", lambda: GPU)
    monkeypatch.setattr(mm, "should_use_bf16", lambda device: bf16 and device == GPU)
    monkeypatch.setattr(mm, "should_use_fp16", lambda device: fp16 and device == GPU)
    assert memory.load(checkpoint, "auto", None).pipeline.dtype == expected
