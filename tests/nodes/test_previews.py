"""ComfyUI's preview method: `none` shows and costs nothing, all others show previews.

Reported of other nodes: Comfy-Org/ComfyUI #1761 and obisin/ComfyUI-FSampler #13.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.options
import numpy as np
import pytest
import torch
from comfy import cli_args
from comfy.cli_args import LatentPreviewMethod
from janus_nodes.janus_core import JanusPipeline, TokenSampling
from janus_nodes.janus_core.config import VAEConfig
from janus_nodes.nodes import memory, previews, progress
from janus_nodes.nodes.ask import JanusAsk
from janus_nodes.nodes.best_of import JanusBestOf
from janus_nodes.nodes.edit import JanusEdit
from janus_nodes.nodes.flow import JanusFlowSampler
from janus_nodes.nodes.generate import JanusGenerate
from janus_nodes.nodes.memory import LoadedJanus
from janus_nodes.nodes.think import JanusThinkAndDraw
from server import PromptServer
from support.node_runs import run

Shown = list[tuple[int, int, Any]]
Choose = Callable[..., None]
METHODS = [method.value for method in LatentPreviewMethod]
SHOWING = [method for method in METHODS if method != "none"]


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Starts ComfyUI, so to say, with these arguments and, from a newer front end, a prompt's own method."""

    def start(*arguments: str, prompt: str | None = None) -> None:
        method = cli_args.parser.parse_args(arguments).preview_method
        if prompt not in (None, "default"):
            method = LatentPreviewMethod(prompt)
        monkeypatch.setattr(cli_args.args, "preview_method", method)
        monkeypatch.setattr(comfy.options, "args_parsing", True)
        monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
        extra_data = {} if prompt is None else {"preview_method": prompt}
        queue = SimpleNamespace(
            get_current_queue_volatile=lambda: ([(0, "id", {}, extra_data, ["1"])], []),
        )
        server = SimpleNamespace(prompt_queue=queue, client_id=None)
        monkeypatch.setattr(PromptServer, "instance", server, raising=False)

    return start


@pytest.mark.parametrize("arguments", [("--preview-method", "none"), ("--preview-method=none", "--cpu")])
def test_none_on_the_command_line_switches_previews_off(choose: Choose, arguments: tuple[str, ...]) -> None:
    choose(*arguments)
    assert not previews.previews_wanted()
    choose(*arguments, prompt="default")
    assert not previews.previews_wanted()


@pytest.mark.parametrize("method", SHOWING)
def test_every_other_method_switches_them_on(choose: Choose, method: str) -> None:
    choose("--preview-method", method)
    assert previews.previews_wanted()
    choose("--preview-method", "none", prompt=method)
    assert previews.previews_wanted()


def test_without_a_choice_they_are_on(choose: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("--cpu")
    assert previews.previews_wanted()
    choose("--cpu", prompt="default")
    assert previews.previews_wanted()
    monkeypatch.delattr(PromptServer, "instance")
    assert previews.previews_wanted()


@pytest.mark.parametrize("method", [None, *METHODS])
def test_a_prompt_of_its_own_method_none_has_none(choose: Choose, method: str | None) -> None:
    choose(*([] if method is None else ["--preview-method", method]), prompt="none")
    assert not previews.previews_wanted()


PICTURE = torch.rand(1, 16, 16, 3)
NODES: dict[str, Callable[[LoadedJanus], Any]] = {
    "generate": lambda loaded: run(JanusGenerate, model=loaded, prompt="A cat."),
    "best_of": lambda loaded: run(JanusBestOf, model=loaded, prompt="A cat.", batch_size=2),
    "edit": lambda loaded: run(
        JanusEdit, model=loaded, image=PICTURE, instruction="A cat.", mask=torch.ones(1, 16, 16), candidates=1
    ),
    "think": lambda loaded: run(JanusThinkAndDraw, model=loaded, prompt="A cat.", rounds=0, max_new_tokens=3),
    "ask": lambda loaded: run(JanusAsk, model=loaded, request="A cat.", task="generate"),
}


@pytest.mark.parametrize("node", NODES)
def test_a_node_without_previews_sends_progress_and_decodes_only_the_result(
    loaded: LoadedJanus, shown: Shown, choose: Choose, node: str
) -> None:
    decoded: list[int] = []
    hook = loaded.pipeline.model.generation.vq.decoder.register_forward_hook(lambda *_: decoded.append(1))
    choose("--preview-method", "auto")
    NODES[node](loaded)
    with_previews, steps = len(decoded), [value for value, *_ in shown]
    assert any(preview is not None for *_, preview in shown)
    decoded.clear(), shown.clear()
    choose("--preview-method", "none")
    NODES[node](loaded)
    hook.remove()
    assert {preview for *_, preview in shown} == {None}
    assert steps[: len(shown)] == [value for value, *_ in shown] and len(shown) >= 4
    assert len(decoded) == (2 if node == "best_of" else 1) < with_previews


@pytest.mark.parametrize("sdxl", [False, True])
def test_the_flow_sampler_obeys_too(
    golden_root: Path, shown: Shown, choose: Choose, monkeypatch: pytest.MonkeyPatch, sdxl: bool
) -> None:
    """It decodes previews with a VAE of the checkpoint's own, and needs none for SDXL's latents."""
    flow = memory.load(golden_root / "janusflow-tiny", "fp32", None)
    monkeypatch.setattr(VAEConfig, "is_sdxl", sdxl)
    monkeypatch.setattr(progress, "PREVIEW_SHARE", math.inf)
    decoded: list[int] = []
    flow.pipeline.model.generation.vae.decoder.register_forward_hook(lambda *_: decoded.append(1))
    for method, expected in (("none", False), ("taesd", True)):
        shown.clear()
        choose("--preview-method", method)
        run(JanusFlowSampler, model=flow, prompt="A cat.", steps=3)
        assert [value for value, *_ in shown] == [1, 2, 3]
        assert [preview is not None for *_, preview in shown] == [expected] * 3
    assert len(decoded) == (0 if sdxl else 3)


@pytest.mark.parametrize("sdxl", [False, True])
def test_the_flow_sampler_decodes_seldom_and_at_last(
    golden_root: Path, shown: Shown, choose: Choose, monkeypatch: pytest.MonkeyPatch, sdxl: bool
) -> None:
    flow = memory.load(golden_root / "janusflow-tiny", "fp32", None)
    monkeypatch.setattr(VAEConfig, "is_sdxl", sdxl)
    monkeypatch.setattr(progress, "PREVIEW_SHARE", 1e-9)
    choose("--preview-method", "auto")
    shown.clear()  # of progress in loading
    run(JanusFlowSampler, model=flow, prompt="A cat.", steps=4)
    assert [preview is not None for *_, preview in shown] == [True, sdxl, sdxl, True]


def test_previews_of_a_checkpoint_with_its_own_vae_are_decoded_by_it(
    golden_root: Path, shown: Shown, choose: Choose
) -> None:
    flow = memory.load(golden_root / "janusflow-tiny", "fp32", None)
    choose()
    (latent,) = run(JanusFlowSampler, model=flow, prompt="A cat.", steps=1)
    (picture,) = flow.pipeline.preview(latent["samples"] * flow.pipeline.latent_scale)
    (_, sheet, size), expected = shown[-1][2], (picture * 255).byte().numpy()
    assert size == len(expected)
    assert np.abs(np.asarray(sheet).astype(int) - expected).max() <= 1  # the node's output is scaled


@pytest.mark.parametrize("size", [20, 200])
def test_previews_have_the_size_that_comfyui_is_set_to_and_at_most_the_images(
    core: JanusPipeline, shown: Shown, choose: Choose, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    choose()
    monkeypatch.setattr(cli_args.args, "preview_size", size)
    images = core.generate("A lake.", TokenSampling(), on_step=progress.ImageReport(core)).images
    assert 20 < images.shape[2] < 200
    expected = min(size, images.shape[2])
    assert {preview[2] for *_, preview in shown if preview is not None} == {expected}
