"""Checkpoint folders for tests: with random weights, copied, or damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from janus_nodes.janus_core.checkpoints.save import save_model
from janus_nodes.janus_core.config import (
    JanusConfig,
    LlamaConfig,
    ProjectorConfig,
    SiglipConfig,
    TokenGenerationConfig,
    TokenHeadConfig,
    UnderstandingConfig,
    VQConfig,
)
from janus_nodes.janus_core.models.janus import Janus
from safetensors.torch import load_file, save_file
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def small_config(
    hidden_size: int = 80,
    heads: int = 5,
    kv_heads: int = 1,
    head_dim: int = 12,
    vocab_size: int = 501,
    max_position_embeddings: int = 700,
    image_size: int = 24,
    codebook_size: int = 77,
    tie: bool = False,
    intermediate_size: int = 136,
) -> JanusConfig:
    """A full model config, with sizes that no golden checkpoint has."""
    return JanusConfig(
        understanding=UnderstandingConfig(
            vision=SiglipConfig(
                hidden_size=28,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=61,
                image_size=image_size,
                patch_size=6,
            ),
            aligner=ProjectorConfig(input_size=28, hidden_size=hidden_size, depth=3),
        ),
        body=LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=3,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            rms_norm_eps=1e-5,
            rope_theta=4321.0,
            max_position_embeddings=max_position_embeddings,
            tie_word_embeddings=tie,
        ),
        generation=TokenGenerationConfig(
            vq=VQConfig(
                codebook_size=codebook_size,
                codebook_dim=6,
                ch=16,
                encoder_ch_mult=(1, 2, 1),
                decoder_ch_mult=(2, 1, 1),
                num_res_blocks=1,
                z_channels=24,
                num_groups=8,
            ),
            aligner=ProjectorConfig(input_size=6, hidden_size=hidden_size, depth=1),
            head=TokenHeadConfig(hidden_size=hidden_size, image_token_embed=40, codebook_size=codebook_size),
            image_size=image_size,
        ),
    )


def randomize(module: torch.nn.Module, seed: int = 0) -> None:
    """Fills a module with random weights that keep activations at a normal scale."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                parameter.copy_(noise * (2.0 / parameter[0].numel()) ** 0.5)
            else:
                parameter.copy_(noise * 0.1 + (1.0 if "norm" in name and "weight" in name else 0.0))


def random_model(config: JanusConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> Janus:
    """A model of random weights."""
    model = Janus(config)
    randomize(model, seed)
    if config.body.tie_word_embeddings:
        model.body.lm_head.weight = model.body.embed_tokens.weight
    return model.to(dtype).eval().requires_grad_(False)


def write_checkpoint(
    folder: Path, config: JanusConfig, seed: int = 0, dtype: torch.dtype = torch.float32, **options: Any
) -> Janus:
    """Writes random weights and the golden tokenizer as a checkpoint folder; returns the model."""
    model = random_model(config, seed, dtype)
    save_model(model, folder, **options)
    copy_settings(folder, config)
    return model


def copy_settings(folder: Path, config: JanusConfig) -> None:
    """Writes the golden tokenizer and settings, with the image size of another model."""
    for name in (*TOKENIZER_FILES, *PROCESSOR_FILES):
        shutil.copyfile(GOLDEN / "janus-pro-tiny" / name, folder / name)
    vision, (processor, preprocessor) = config.understanding.vision, PROCESSOR_FILES
    edit_json(folder / processor, lambda content: content.update(num_image_tokens=vision.num_positions))
    edit_json(folder / preprocessor, lambda content: content.update(image_size=vision.image_size))


def copy_checkpoint(name: str, folder: Path) -> Path:
    """A copy of a golden checkpoint, without its reference numbers, to damage."""
    return Path(shutil.copytree(GOLDEN / name, folder, ignore=shutil.ignore_patterns("goldens", "vae")))


def single_file_checkpoint(folder: Path) -> Path:
    """A copy of the golden checkpoint whose weights lie in one `model.safetensors`."""
    copy_checkpoint("janus-pro-tiny", folder)
    (folder / "model.safetensors.index.json").unlink()
    tensors: dict[str, Tensor] = {}
    for shard in sorted(folder.glob("model-*.safetensors")):
        # Copies, because the mapped file is deleted.
        tensors |= {key: tensor.clone() for key, tensor in load_file(shard).items()}
        shard.unlink()
    save_file(tensors, folder / "model.safetensors")
    return folder


def edit_tensors(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> Path:
    """Changes the tensors of a folder's `model.safetensors` in place."""
    file = folder / "model.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(file).items()}
    edit(tensors)
    save_file(tensors, file)
    return folder


def edit_json(file: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Changes a JSON file in place; returns its folder."""
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file.parent


def assert_same_weights(left: torch.nn.Module, right: torch.nn.Module) -> None:
    """Every parameter of two models is identical, dtype included."""
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name
