"""Low-rank adapters on the body, by peft (an optional extra): fewer weights to train and to keep in mind."""

from __future__ import annotations

from typing import Any

from torch import nn

TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


def add_adapters(body: nn.Module, rank: int) -> Any:
    """Puts adapters of a rank beside the body's linear layers, in place.

    Returns:
        What `merge_adapters` takes.

    Raises:
        ImportError: if peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            "training with LoRA needs the package peft; install it with: pip install peft"
        ) from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), lora_dropout=0.0)
    return inject_adapter_in_model(config, body)


def merge_adapters(body: nn.Module) -> None:
    """Adds what the adapters learnt to the weights and takes them away, in place."""
    for name, module in list(body.named_modules()):
        if hasattr(module, "merge") and hasattr(module, "get_base_layer"):
            module.merge()
            parent = body.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
