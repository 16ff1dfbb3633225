"""LoRA adapters on the language model (arXiv:2106.09685), with the optional package peft."""

from __future__ import annotations

import torch
from torch import nn

TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


def add_adapters(body: nn.Module, rank: int, seed: int) -> None:
    """Adds adapters to all linear layers in the blocks of the language model, in place."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            f"training with LoRA needs the package peft, got: {error}; install it with pip install peft, and "
            "if torchvision is installed, use the version built for this torch"
        ) from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):  # peft takes no generator
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(config, body)


def merge_adapters(body: nn.Module) -> None:
    """Merges the adapters into the weights and removes them, in place."""
    for name, module in list(body.named_modules()):
        if hasattr(module, "merge") and hasattr(module, "get_base_layer"):
            module.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(body.get_submodule(parent), attribute, module.get_base_layer())
