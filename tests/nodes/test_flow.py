"""JanusFlow under ComfyUI's memory management, and the widgets and previews of its sampler."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import numpy as np
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from janus_nodes.janus_core import EditSampling, FlowSampling, TokenSampling, load_pipeline
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.nodes import memory, progress
from janus_nodes.nodes.flow import JanusFlowSampler
from janus_nodes.nodes.memory import LoadedJanus
from support.patchers import cast_all, load_share
from torch import Tensor

NO_TOKENS = (
    "a Janus or Janus-Pro checkpoint, got 'janusflow-tiny', which generates images by flow; choose a Janus "
    "or Janus-Pro folder in Load Janus-Pro, or use JanusFlow Sampler with this one"
)
NO_FLOW = (
    "a JanusFlow checkpoint, got 'janus-pro-tiny', which generates images token by token; choose a JanusFlow "
    "folder in Load Janus-Pro, or use Janus Generate with this one"
)
GPU, CPU = torch.device("meta"), torch.device("cpu")
SAMPLER = {
    "prompt": "A red ball.",
    "negative_prompt": "A blue ball.",
    "seed": 2**64 - 1,
    "batch_size": 2,
    "steps": 3,
    "guidance_scale": 1.0,
    "solver": "heun",
    "denoise": 0.5,
}


@pytest.fixture
def checkpoint(golden_root: Path) -> Path:
    """The golden flow checkpoint's folder, in place of the other one."""
    return golden_root / "janusflow-tiny"


@pytest.fixture
def latent(loaded: LoadedJanus) -> dict[str, Tensor]:
    """A latent as core's VAE Encode gives it."""
    shape = loaded.pipeline.model.generation.config.latent_shape
    return {"samples": torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))}


def sample(**inputs: Any) -> Tensor:
    """Runs the node as ComfyUI does, widgets that are not given at their defaults."""
    entries = JanusFlowSampler.define_schema().inputs
    defaults = {entry.id: entry.default for entry in entries if isinstance(entry, io.WidgetInput)}
    prepared = JanusFlowSampler.PREPARE_CLASS_CLONE({})
    return prepared.EXECUTE_NORMALIZED(**defaults | {"steps": 2} | inputs).args[0]["samples"]


def test_every_widget_is_tried() -> None:
    entries = JanusFlowSampler.define_schema().inputs
    assert [entry.id for entry in entries if isinstance(entry, io.WidgetInput)] == list(SAMPLER)


@pytest.mark.parametrize("widget", SAMPLER)
def test_widget_of_the_sampler_changes_the_latent(
    loaded: LoadedJanus, latent: dict[str, Tensor], widget: str
) -> None:
    base = {"model": loaded, "latent": latent}
    before = sample(**base)
    after = sample(**base | {widget: SAMPLER[widget]})
    assert torch.equal(sample(**base), before)
    assert after.shape != before.shape or not torch.equal(after, before)


def test_latent_input_changes_the_latent(loaded: LoadedJanus, latent: dict[str, Tensor]) -> None:
    before = sample(model=loaded, latent=latent, denoise=0.5)
    other = {"samples": latent["samples"] + 1.0}
    assert not torch.equal(sample(model=loaded, latent=other, denoise=0.5), before)
    torch.testing.assert_close(sample(model=loaded, latent=latent, denoise=0.0), latent["samples"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_latents_of_half_precision_are_not_rounded_again(
    loaded: LoadedJanus, latent: dict[str, Tensor], dtype: torch.dtype
) -> None:
    half = latent["samples"].to(dtype)
    back = sample(model=loaded, latent={"samples": half}, denoise=0.0)
    torch.testing.assert_close(back, half.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("janusflow-tiny", TokenSampling(), NO_TOKENS),
        ("janusflow-tiny", EditSampling(), NO_TOKENS),
        ("janus-pro-tiny", FlowSampling(), NO_FLOW),
    ],
)
def test_a_model_of_the_other_kind_is_refused_with_the_folder_to_choose_and_its_own_node(
    golden_root: Path, name: str, options: TokenSampling | FlowSampling, expected: str
) -> None:
    model = memory.load(golden_root / name, "fp32", None)
    with pytest.raises(ValueError, match=f"^model must be {expected}$"):
        model.image_options(options)


def test_incomplete_latents_are_refused(loaded: LoadedJanus, latent: dict[str, Tensor]) -> None:
    masked = latent | {"noise_mask": torch.ones(1, 1, 64, 64)}
    with pytest.raises(ValueError, match=r"latent must have no noise_mask, .*, got one; take it from VAE En"):
        sample(model=loaded, latent=masked, denoise=0.5)
    sample(model=loaded, latent=latent | {"noise_mask": None}, denoise=0.5)
    nested = {"samples": NestedTensor([latent["samples"], latent["samples"]])}
    with pytest.raises(ValueError, match=r"latents must be a tensor \[1, 4, 8, 8\] .*, got NestedTensor; "):
        sample(model=loaded, latent=nested, denoise=0.5)
    video = {"samples": latent["samples"][:, :, None]}
    with pytest.raises(ValueError, match=r"latents must be .*, got shape \[1, 4, 1, 8, 8\]; encode images"):
        sample(model=loaded, latent=video, denoise=0.5)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_partial_load_strands_no_weight_and_every_network_computes(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(mm, "get_torch_device", lambda: GPU)
    loaded = memory.load(checkpoint, "bf16", None)
    load_share(loaded, GPU, share)
    model, dtype = loaded.pipeline.model, loaded.pipeline.dtype
    for name, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if module is model.body.embed_tokens:  # which is looked up in main memory
                continue
            assert parameter.device == GPU or module.comfy_cast_weights, f"{name}.{key}"
    latents = torch.empty(1, *model.generation.config.latent_shape, device=GPU)
    embeds, skip, time = model.generation.embed_latents(latents, torch.empty(1, device=GPU))
    positions = torch.arange(embeds.shape[1], device=GPU)[None]
    cache = KVCache(model.config.body, 1, embeds.shape[1], GPU, dtype)
    hidden_states = model.body(embeds.to(dtype), positions, cache)
    results = [
        *model.understanding(torch.empty(1, 3, 64, 64, device=GPU, dtype=dtype)),
        model.generation.velocity(hidden_states, skip, time),
    ]
    assert {result.device for result in results} == {GPU}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_casting_layers_give_identical_latents(checkpoint: Path, dtype: torch.dtype) -> None:
    loaded = memory.load(checkpoint, dtype, None)
    cast_all(loaded, CPU)
    layers = [m for m in loaded.pipeline.model.modules() if any(True for _ in m.parameters(recurse=False))]
    assert all(layer.comfy_cast_weights for layer in layers)
    options = FlowSampling(num_steps=2, seed=4)
    drawn = loaded.pipeline.generate("A lake.", options, pixels=False)
    plain = load_pipeline(checkpoint, dtype=loaded.pipeline.dtype)
    assert torch.equal(drawn.latents, plain.generate("A lake.", options, pixels=False).latents)


def test_preview_is_square_and_comes_with_every_step_that_takes_long(
    loaded: LoadedJanus, shown: list[tuple[int, int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PREVIEW_SHARE", math.inf)
    sample(model=loaded, steps=4)
    counted = [(value, total) for value, total, _ in shown]
    assert counted == [(step, 4) for step in range(1, 5)]
    for _, _, (_, picture, _) in shown:
        assert picture.width == picture.height
        assert np.ptp(np.asarray(picture)) > 0


def test_interrupt_stops_at_the_next_step(
    loaded: LoadedJanus, shown: list[tuple[int, int, Any]], no_interrupt: None
) -> None:
    body = loaded.pipeline.model.body
    hook = body.register_forward_hook(lambda *_: mm.interrupt_current_processing())
    with pytest.raises(mm.InterruptProcessingException):
        sample(model=loaded, steps=4)
    hook.remove()
    assert shown == []
