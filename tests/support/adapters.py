"""LoRA adapters for tests: saved by peft itself on models of random weights, or damaged."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.models.cache import KVCache
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from support.checkpoints import GOLDEN

LANGUAGE_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def model_tree(tensors: Mapping[str, Tensor]) -> nn.Module:
    """A module whose state dict is these tensors, with layers of the classes that peft knows."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        parent = root
        for part in path[:-1]:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        if path and path[-1] not in parent._modules:
            weight, bias = tensors.get(f"{'.'.join(path)}.weight"), f"{'.'.join(path)}.bias" in tensors
            parent.add_module(path[-1], layer_of(path[-1], weight, bias))
        owner = parent.get_submodule(path[-1]) if path else parent
        setattr(owner, leaf, nn.Parameter(tensor.clone(), requires_grad=False))
    return root


def layer_of(name: str, weight: Tensor | None, bias: bool) -> nn.Module:
    """An empty layer for a weight of this shape."""
    if weight is None or weight.ndim == 1:
        return nn.Module()
    if weight.ndim == 4:
        return nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=bias)
    if "embed" in name:
        return nn.Embedding(*weight.shape)
    return nn.Linear(weight.shape[1], weight.shape[0], bias=bias)


def write_with_peft(
    folder: Path, model: nn.Module, seed: int = 0, scale: float = 0.05, **config: Any
) -> nn.Module:
    """Has peft wrap a model and save an adapter of random numbers; returns the model with the adapter."""
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tree has no config and no forward
        wrapped = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 6} | config))
        fill_adapter(wrapped, seed, scale)
        wrapped.save_pretrained(str(folder))
    return wrapped


def fill_adapter(wrapped: nn.Module, seed: int, scale: float = 0.05) -> None:
    """Random numbers for everything that peft would train."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)


def merged(wrapped: Any) -> dict[str, Tensor]:
    """The weights that peft computes when it merges an adapter."""
    state: dict[str, Tensor] = wrapped.merge_and_unload().state_dict()
    return {name: tensor.contiguous() for name, tensor in state.items()}


def edit_adapter(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> Path:
    """Changes the tensors of an adapter in place."""
    file = folder / "adapter_model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    edit(tensors)
    save_file(tensors, file)
    return folder


def edit_config(folder: Path, **changes: Any) -> Path:
    """Changes entries of an adapter's config in place."""
    file = folder / "adapter_config.json"
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(content), encoding="utf-8")
    return folder


@torch.no_grad()
def logits(pipe: JanusPipeline) -> dict[str, Tensor]:
    """What every part of a model computes of the same random inputs."""
    generator = torch.Generator().manual_seed(0)
    model, config = pipe.model, pipe.model.config
    images = torch.rand(2, 40, 64, 3, generator=generator)
    features = pipe.encode_vision(images)
    prompt = pipe.prompts.understanding(["Who is this?"] * 2, 1, "")
    embeds = model.embed_prompt(prompt, features.image_embeds)
    ids = torch.randint(config.generation.vq.codebook_size, (2, 3), generator=generator)
    embeds = torch.cat((embeds, model.token_generation.embed_tokens(ids).to(embeds.dtype)), dim=1)
    cache = KVCache(config.body, 2, embeds.shape[1], pipe.device, pipe.dtype)
    hidden = model.body(embeds, torch.arange(embeds.shape[1])[None].expand(2, -1), cache)
    return {
        "features": features.image_embeds.float(),
        "text": model.body.lm_head(hidden).float(),
        "image": model.token_generation.head(hidden).float(),
    }


def distance(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """The largest difference of two models' numbers."""
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def write_adapter(
    folder: Path,
    modules: Mapping[str, tuple[int, int] | None],
    whole: tuple[str, ...] = (),
    seed: int = 0,
) -> Path:
    """An adapter of the golden checkpoint, written without peft.

    Args:
        folder: a new one.
        modules: names in the original layout with the shapes of their weights, None for the checkpoint's.
        whole: names of weights that are replaced.
        seed: of all numbers.
    """
    base = {}
    for file in (GOLDEN / "janus-pro-tiny").glob("*.safetensors"):
        base |= load_file(file)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module, shape in modules.items():
        rows, columns = shape or tuple(base[f"{module}.weight"].shape)
        down, up = (torch.randn(size, generator=generator) for size in ((2, columns), (rows, 2)))
        tensors[f"base_model.model.{module}.lora_A.weight"] = down
        tensors[f"base_model.model.{module}.lora_B.weight"] = up * 0.05
    for name in whole:
        noise = torch.randn(base[name].shape, generator=generator)
        tensors[f"base_model.model.{name}"] = base[name].float() + 0.1 * noise
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
