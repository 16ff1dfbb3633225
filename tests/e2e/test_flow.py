"""JanusFlow on a server: its node, ComfyUI's VAE nodes, previews, and errors that suggest the right node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.checkpoints.layouts.vae import single_file_key_map
from janus_nodes.janus_core.config import VAEConfig
from janus_nodes.janus_core.models.sdxl_vae import AutoencoderKL
from safetensors.torch import save_file

from dev.comfyui.client import ComfyClient
from dev.comfyui.events import Event
from dev.comfyui.server import ComfyServer


def write_sdxl_vae(file: Path) -> None:
    """Random weights with the names and sizes of SDXL's VAE, which ComfyUI does not read from the file."""
    config = VAEConfig(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4)
    torch.manual_seed(0)
    vae = AutoencoderKL(config)
    state = {f"generation.vae.{name}": tensor for name, tensor in vae.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = single_file_key_map(4).expected_tensors(None, shapes)
    save_file({name: state[part.parameter] for name, part in found.items()}, file)


@pytest.fixture(scope="module")
def flow_server(server_factory: Callable[..., ComfyServer], golden_root: Path) -> ComfyServer:
    """A server with a JanusFlow checkpoint, a Janus-Pro checkpoint, and a VAE for ComfyUI's loader."""
    server = server_factory()
    server.add_model(golden_root / "janusflow-tiny")
    server.add_model(golden_root / "janus-pro-tiny")
    folder = server.base / "models" / "vae"
    folder.mkdir(parents=True, exist_ok=True)
    write_sdxl_vae(folder / "sdxl_random.safetensors")
    server.start()
    return server


@pytest.fixture
def flow_client(flow_server: ComfyServer) -> ComfyClient:
    """A client of that server."""
    return flow_server.client


def load(checkpoint: str) -> dict[str, Any]:
    inputs = {"checkpoint": checkpoint, "precision": "fp32", "template": "auto"}
    return {"class_type": "JanusLoad", "inputs": inputs | {"download": False, "convert_bin": False}}


def sampler(**inputs: Any) -> dict[str, Any]:
    usual = {
        "model": ["1", 0],
        "prompt": "A cat",
        "negative_prompt": "",
        "seed": 5,
        "batch_size": 2,
        "steps": 4,
        "guidance_scale": 2.0,
        "solver": "euler",
        "denoise": 1.0,
    }
    return {"class_type": "JanusFlowSampler", "inputs": usual | inputs}


def test_comfyuis_vae_decodes_the_latents(flow_client: ComfyClient) -> None:
    prompt = {
        "1": load("janusflow-tiny"),
        "2": sampler(),
        "3": {"class_type": "VAELoader", "inputs": {"vae_name": "sdxl_random.safetensors"}},
        "4": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0], "vae": ["3", 0]}},
        "5": {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["3", 0]}},
        "6": sampler(latent=["5", 0], denoise=0.5),
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["3", 0]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "flow"}},
    }
    result = flow_client.run(prompt).check()
    assert len(result.images()) == 2
    assert result.previews


def test_latents_are_those_of_the_core_over_the_scaling_factor(
    flow_server: ComfyServer, flow_client: ComfyClient, golden_root: Path
) -> None:
    from janus_nodes.janus_core import FlowSampling
    from safetensors.torch import load_file

    save = {"class_type": "SaveLatent", "inputs": {"samples": ["2", 0], "filename_prefix": "flow"}}
    flow_client.run({"1": load("janusflow-tiny"), "2": sampler(), "3": save}).check()
    (file,) = (flow_server.base / "output").glob("flow*.latent")
    found = load_file(file)["latent_tensor"]
    pipe = load_pipeline(golden_root / "janusflow-tiny", dtype=torch.float32)
    drawn = pipe.generate("A cat", FlowSampling(num_steps=4, seed=5, batch_size=2)).latents
    torch.testing.assert_close(found, drawn / 0.13025, rtol=0, atol=1e-3)


def test_cancelled_sampling_ends_at_once_and_the_next_run_is_right(flow_client: ComfyClient) -> None:
    def running(event: Event) -> bool:
        state = event.data.get("nodes", {}).get("2", {}) if event.type == "progress_state" else {}
        return state.get("state") == "running" and state["value"] >= 3

    save = {"class_type": "SaveLatent", "inputs": {"samples": ["2", 0], "filename_prefix": "cancelled"}}
    long_run = {"1": load("janusflow-tiny"), "2": sampler(steps=1000, batch_size=64), "3": save}
    with flow_client.watch() as watcher:
        prompt_id = flow_client.queue(long_run, watcher.client_id)
        watcher.until(running)
        flow_client.interrupt()
        watcher.until_finished(prompt_id)
        assert flow_client.result(prompt_id, watcher.events).status == "interrupted"
    flow_client.run({**long_run, "2": sampler(seed=11)}).check()


@pytest.mark.parametrize(
    ("checkpoint", "node", "message"),
    [
        (
            "janus-pro-tiny",
            sampler(),
            "choose a JanusFlow folder in Load Janus-Pro, or use Janus Generate with this one",
        ),
        (
            "janusflow-tiny",
            None,
            "choose a Janus or Janus-Pro folder in Load Janus-Pro, or use JanusFlow Sampler with this one",
        ),
        ("janusflow-tiny", sampler(latent=["4", 0]), "encode images of 64 x 64 pixels with the model's VAE"),
        ("janusflow-tiny", sampler(denoise=0.5), "denoise must be 1 without latents"),
        ("janusflow-tiny", "JanusVQEncode", "which generates images by flow"),
    ],
)
def test_errors_suggest_the_right_node_or_input(
    flow_client: ComfyClient, checkpoint: str, node: Any, message: str
) -> None:
    generate = {
        "model": ["1", 0],
        "prompt": "A cat",
        "negative_prompt": "",
        "seed": 0,
        "batch_size": 1,
        "guidance_scale": 5.0,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
    }
    empty = {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}}
    prompt: dict[str, Any] = {"1": load(checkpoint), "4": empty}
    if node == "JanusVQEncode":
        prompt["5"] = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1}}
        prompt["5"]["inputs"]["color"] = 0
        prompt["6"] = {"class_type": node, "inputs": {"model": ["1", 0], "image": ["5", 0]}}
        prompt["2"] = {"class_type": "JanusVQDecode", "inputs": {"model": ["1", 0], "tokens": ["6", 0]}}
    else:
        prompt["2"] = node or {"class_type": "JanusGenerate", "inputs": generate}
    show = {"class_type": "SaveLatent", "inputs": {"samples": ["2", 0], "filename_prefix": "x"}}
    if node is None or node == "JanusVQEncode":
        show = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}}
    prompt["3"] = show
    result = flow_client.run(prompt)
    assert result.status == "error"
    assert message in result.errors[0].message
