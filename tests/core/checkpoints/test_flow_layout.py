"""Checkpoints that draw by a flow and their VAEs: key maps both ways, layouts, round trips, wrong files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline, save_checkpoint
from janus_nodes.janus_core.checkpoints.keymap import KeyMap
from janus_nodes.janus_core.checkpoints.layouts import FLOW
from janus_nodes.janus_core.checkpoints.layouts.vae import diffusers_key_map, single_file_key_map
from janus_nodes.janus_core.models.janus import Janus
from safetensors.torch import load_file, save_file
from support.checkpoints import assert_same_weights, copy_checkpoint, edit_json


def test_the_released_checkpoint_maps_completely_both_ways(golden_root: Path) -> None:
    folder = golden_root / "real_configs"
    config = FLOW.read_config(json.loads((folder / "JanusFlow-1.3B.config.json").read_text(encoding="utf-8")))
    keys = json.loads((folder / "JanusFlow-1.3B.keys.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = Janus(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    found = FLOW.key_map.expected_tensors(config, shapes)
    unused = {name for name in keys if FLOW.key_map.drops(name)}
    assert all("attn_pool" in name for name in unused)
    assert found.keys() == keys.keys() - unused
    for name, part in found.items():
        assert list(part.source_shape) == keys[name], name
    filled = dict.fromkeys(shapes, 0)
    for part in found.values():
        filled[part.parameter] += part.shape[0]
    assert filled == {name: shape[0] for name, shape in shapes.items()}
    assert config.generation.latent_shape == (4, 48, 48)
    assert config.generation.num_tokens == 577
    assert config.understanding.num_embeddings == 577
    assert FLOW.write_config is not None
    assert FLOW.read_config(FLOW.write_config(config, "bfloat16")) == config


def test_pickles_and_shards_give_the_same_model(golden_root: Path, flow_pipe: JanusPipeline) -> None:
    loaded = load_pipeline(
        golden_root / "janusflow-tiny-bin", dtype=torch.float32, vae=golden_root / "janusflow-tiny" / "vae"
    )
    assert_same_weights(loaded.model, flow_pipe.model)
    assert (loaded.prompts.chat.user, loaded.prompts.chat.assistant) == ("User", "Assistant")


def test_saving_and_loading_gives_the_same_model(flow_pipe: JanusPipeline, tmp_path: Path) -> None:
    save_checkpoint(flow_pipe, tmp_path / "copy")
    loaded = load_pipeline(tmp_path / "copy", dtype=torch.float32)
    assert_same_weights(loaded.model, flow_pipe.model)
    assert loaded.model.config == flow_pipe.model.config
    theirs = load_file(flow_pipe.folder / "vae" / "diffusion_pytorch_model.safetensors")
    ours = load_file(tmp_path / "copy" / "vae" / "diffusion_pytorch_model.safetensors")
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def vae_tensors(pipe: JanusPipeline, key_map: KeyMap) -> dict[str, torch.Tensor]:
    """The golden VAE's tensors in another layout."""
    state = {
        name: parameter
        for name, parameter in pipe.model.named_parameters()
        if name.startswith("generation.vae.")
    }
    shapes = {name: tuple(parameter.shape) for name, parameter in state.items()}
    parts = key_map.expected_tensors(pipe.model.config, shapes)
    return {
        name: state[part.parameter].reshape(part.source_shape).contiguous().clone()
        for name, part in parts.items()
    }


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_single_file_gives_the_same_vae(flow_pipe: JanusPipeline, tmp_path: Path, prefix: str) -> None:
    tensors = vae_tensors(flow_pipe, single_file_key_map(4, prefix))
    # The names of the training code, the decoder's levels counted from the highest resolution.
    assert f"{prefix}encoder.down.0.block.0.conv1.weight" in tensors
    assert tensors[f"{prefix}decoder.up.0.block.0.nin_shortcut.weight"].shape == (16, 32, 1, 1)
    assert f"{prefix}decoder.up.3.upsample.conv.weight" in tensors
    assert f"{prefix}encoder.mid.attn_1.proj_out.weight" in tensors
    extra = {"model.diffusion_model.out.weight": torch.zeros(2)} if prefix else {}
    save_file(tensors | extra, tmp_path / "sdxl_vae.safetensors")
    loaded = load_pipeline(flow_pipe.folder, dtype=torch.float32, vae=tmp_path / "sdxl_vae.safetensors")
    assert_same_weights(loaded.model, flow_pipe.model)
    assert loaded.model.config == flow_pipe.model.config


def test_old_names_of_a_diffusers_vae_are_known(flow_pipe: JanusPipeline, tmp_path: Path) -> None:
    copy_vae = tmp_path / "vae"
    copy_vae.mkdir()
    text = (flow_pipe.folder / "vae" / "config.json").read_text(encoding="utf-8")
    (copy_vae / "config.json").write_text(text, encoding="utf-8")
    tensors = vae_tensors(flow_pipe, diffusers_key_map(old_names=True))
    assert tensors["encoder.mid_block.attentions.0.query.weight"].shape == (32, 32)
    save_file(tensors, copy_vae / "diffusion_pytorch_model.safetensors")
    loaded = load_pipeline(flow_pipe.folder, dtype=torch.float32, vae=copy_vae)
    assert_same_weights(loaded.model, flow_pipe.model)


def test_without_a_vae_images_are_latents(tmp_path: Path) -> None:
    folder = copy_checkpoint("janusflow-tiny", tmp_path / "janusflow-tiny")
    pipe = load_pipeline(folder, dtype=torch.float32)
    assert pipe.generate("A cat").images is None
    with pytest.raises(RuntimeError, match=r"model must have a VAE .*, got none; pass vae="):
        pipe.encode_latents(torch.zeros(1, 8, 8, 3))


def test_the_vae_is_never_fp16(flow_pipe: JanusPipeline) -> None:
    model = load_pipeline(flow_pipe.folder, dtype=torch.float16).model
    assert model.generation.vae.quant_conv.weight.dtype is torch.float32
    assert model.body.norm.weight.dtype is torch.float16


def test_a_vae_of_other_latents_is_refused(flow_pipe: JanusPipeline, tmp_path: Path) -> None:
    tensors = vae_tensors(flow_pipe, single_file_key_map(4))
    tensors["decoder.conv_in.weight"] = torch.zeros(32, 16, 3, 3)
    save_file(tensors, tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match="vae must have 4 latent_channels, got 16; use the VAE of SDXL"):
        load_pipeline(flow_pipe.folder, vae=tmp_path / "vae.safetensors")


def test_a_vae_of_another_scale_is_refused(flow_pipe: JanusPipeline, tmp_path: Path) -> None:
    shutil.copytree(flow_pipe.folder / "vae", tmp_path / "vae")
    edit_json(tmp_path / "vae" / "config.json", lambda config: config.update(scaling_factor=0.18215))
    with pytest.raises(ValueError, match=r"vae must have the scaling_factor 0\.13025 .*, got 0\.18215; use"):
        load_pipeline(flow_pipe.folder, vae=tmp_path / "vae")


def test_what_is_no_vae_is_refused(flow_pipe: JanusPipeline, pipe: JanusPipeline, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"vae must be a file or a folder, got .*does not exist"):
        load_pipeline(flow_pipe.folder, vae=tmp_path / "none")
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="must hold a VAE's weights, got none named"):
        load_pipeline(flow_pipe.folder, vae=tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"vae must be None for .*janus-pro-tiny, which needs none"):
        load_pipeline(pipe.folder, vae=flow_pipe.folder / "vae")
