"""LoRA adapters on the language model (arXiv:2106.09685): added for training, saved, and merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.adapter_save import SavedMatrices
from ..checkpoints.adapters import Adapter
from ..checkpoints.changes import Change, LowRankChange

TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")

# The scale alpha / rank of `B @ A`, with alpha = 2 * rank.
FACTOR = 2.0


class LoraLinear(nn.Linear):
    """A linear layer without bias, plus a trainable low-rank product: `x W^T + FACTOR * x A^T B^T`."""

    def __init__(self, layer: nn.Linear, rank: int, generator: torch.Generator) -> None:
        """Shares the layer's weight. B is zero at first, so that the output does not change."""
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = layer.weight
        bound = layer.in_features**-0.5
        values = torch.empty(rank, layer.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(values.to(layer.weight))
        self.lora_B = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))

    def forward(self, input: Tensor) -> Tensor:
        """Maps [..., in] to [..., out]."""
        return super().forward(input) + FACTOR * F.linear(F.linear(input, self.lora_A), self.lora_B)


def add_adapters(body: nn.Module, rank: int, seed: int) -> None:
    """Adds adapters to all linear layers in the blocks of the language model, in place."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in list(body.named_modules()):
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in TARGETS:
            _replace(body, name, LoraLinear(module, rank, generator))


def load_adapter(body: nn.Module, adapter: Adapter, rank: int) -> None:
    """Initializes added adapters from a saved one, in place.

    Raises:
        ValueError: if it changes other layers too, is of another rank, or has different matrices A for
            projections that are fused here.
    """
    layers = {f"body.{name}.weight": layer for name, layer in _lora_layers(body)}
    for parameter, changes in adapter.changes.items():
        if parameter not in layers:
            raise ValueError(
                f"adapter {adapter.path} must change the blocks of the language model only to be trained "
                f"further, got one of {parameter}; leave out --lora to merge it and train all weights"
            )
        with torch.no_grad():
            _fill(layers[parameter], adapter.path, parameter, changes, rank)


def _fill(layer: LoraLinear, path: Path, parameter: str, changes: Sequence[Change], rank: int) -> None:
    first = changes[0]
    for change in changes:
        found = "full weights"
        if isinstance(change, LowRankChange):
            found = f"rank {len(change.down)}"
            if len(change.down) == rank and isinstance(first, LowRankChange):
                found = "several first matrices"
                if torch.equal(change.down, first.down):
                    layer.lora_A.copy_(change.down)
                    layer.lora_B[change.start : change.stop] = change.up.float() * (change.factor / FACTOR)
                    continue
        raise ValueError(
            f"adapter {path} must be of rank {rank} with one first matrix for joined projections to be "
            f"trained further, as those that this command writes, got {found} for {parameter}; leave out "
            "--lora to merge it and train all weights"
        )


def adapter_matrices(body: nn.Module) -> SavedMatrices:
    """Returns the matrices A and B of all adapters, by the parameter that they change."""
    return {f"body.{name}.weight": (layer.lora_A, layer.lora_B) for name, layer in _lora_layers(body)}


def merge_adapters(body: nn.Module) -> None:
    """Merges the adapters into the weights and removes them, in place."""
    for name, layer in list(_lora_layers(body)):
        merged = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        with torch.no_grad():
            layer.weight.addmm_(layer.lora_B, layer.lora_A, alpha=FACTOR)
        merged.weight = layer.weight
        _replace(body, name, merged)


def _lora_layers(body: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    return ((name, module) for name, module in body.named_modules() if isinstance(module, LoraLinear))


def _replace(body: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(body.get_submodule(parent), attribute, layer)
