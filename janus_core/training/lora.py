"""Low-rank adapters on the body, by peft (an optional extra): fewer weights to train and to keep in mind."""

from __future__ import annotations

from torch import nn

from .seeds import seeded

TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


def add_adapters(body: nn.Module, rank: int, seed: int) -> None:
    """Puts adapters of a rank beside the body's linear layers, in place.

    Args:
        body: all its linear layers in blocks get adapters.
        rank: of the adapters.
        seed: of their first weights.

    Raises:
        ImportError: if peft cannot be imported.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            f"training with LoRA needs the package peft, got: {error}; install it with pip install peft, and "
            "a torchvision, if any, that was built for the torch at hand"
        ) from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), lora_dropout=0.0)
    with seeded(seed):  # peft takes no generator
        inject_adapter_in_model(config, body)


def merge_adapters(body: nn.Module) -> None:
    """Adds what the adapters learnt to the weights and takes them away, in place."""
    for name, module in list(body.named_modules()):
        if hasattr(module, "merge") and hasattr(module, "get_base_layer"):
            module.merge()
            parent = body.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
