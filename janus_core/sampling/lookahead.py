"""How many image tokens are drawn in a pass where the options leave it open."""

from __future__ import annotations

import torch
from torch import nn

from ..models.cpu.fbgemm_int8_linear import FbgemmInt8Linear
from ..models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
from ..models.janus import Janus
from ..models.quantized.registry import exact_vectors

# Most vectors per pass, by the transformer's linear layers: on CPUs with AVX512, and on others. A pass reads
# all weights, so a few vectors take hardly longer than one (measured in `dev/benchmarks/README.md`). Layers
# in fp32 gain little and are left out.
_VECTORS: dict[type[nn.Module], tuple[int, int]] = {
    FbgemmFp16Linear: (12, 4),
    OneDnnBf16Linear: (16, 16),
    FbgemmInt8Linear: (16, 4),
}

# Guesses far ahead are rarely right: drawing 16 tokens in a pass is hardly faster than drawing 8.
_MOST = 8


def window(model: Janus, lookahead: int | None, sequences: int) -> int:
    """The most tokens of an image that are drawn in a pass over this many sequences.

    `lookahead` is that of the options, limited to what the layers can read at once without changing results.
    If it is None, drawing is plain on other devices than CPUs and with 16-bit activations: a wider pass
    rounds differently there, so about one token in a hundred would change, and an image would depend on its
    batch.
    """
    if lookahead is not None:
        most = max(1, exact_vectors(model.body) // sequences)
        return min(lookahead, model.generation.config.num_tokens, most)
    layer, norm = model.body.get_submodule("layers.0.mlp.gate_up_proj"), model.body.norm.weight
    if norm.device.type != "cpu" or norm.dtype is not torch.float32:
        return 1
    wide, narrow = next((counts for kind, counts in _VECTORS.items() if isinstance(layer, kind)), (1, 1))
    vectors = wide if "AVX512" in torch.backends.cpu.get_cpu_capability() else narrow
    return max(1, min(vectors // sequences, _MOST))
