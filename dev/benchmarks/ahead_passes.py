"""Measures what drawing ahead costs in a model of released size: wider passes, and attention.

`python -m dev.benchmarks.ahead_passes` times four layers of Janus-Pro-1B's sizes, with random weights, in
alternating turns. It prints the time of a pass over several tokens of each sequence, and that time against
one token; then what exact attention costs a pass over one token, and for a single query, the kernel of few
queries against PyTorch's attention. Ratios are medians of those within a turn, then those of the best times.
Time is processor time of one thread, or with `--threads` wall clock. For a CPU without AVX512, set
ATEN_CPU_CAPABILITY to avx2, and MKL_ENABLE_INSTRUCTIONS and FBGEMM_ENABLE_INSTRUCTIONS to AVX2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Hashable, Mapping
from statistics import median
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from janus_core.checkpoints.precision import Precision, resolve_precision
from janus_core.config import LlamaConfig
from janus_core.models.cache import KVCache
from janus_core.models.cpu.few_query_attention import attend_few_queries
from janus_core.models.llama import Llama
from janus_core.models.quantized.registry import rounds_inputs

from .speed import say

SIZES = LlamaConfig(
    vocab_size=8,
    hidden_size=2048,
    intermediate_size=5632,
    num_hidden_layers=4,
    num_attention_heads=16,
    num_key_value_heads=16,
    head_dim=128,
    rms_norm_eps=1e-6,
    rope_theta=10000.0,
    max_position_embeddings=2048,
)
FILLED = 300  # slots of the cache: the prompt, and half of an image
WINDOWS, MOST_VECTORS = (1, 2, 3, 4, 6, 8), 48
SLOTS, CALLS = (16, 32, 64, 128, 256, 512), 6

Key = TypeVar("Key", bound=Hashable)


def in_turns(
    works: Mapping[Key, Callable[[], object]], turns: int, clock: Callable[[], float]
) -> dict[Key, list[float]]:
    """Seconds of every piece of work in each turn, after one turn to warm up."""
    times: dict[Key, list[float]] = {key: [] for key in works}
    for turn in range(1 + turns):
        for key, work in works.items():
            start = clock()
            work()
            if turn:
                times[key].append(clock() - start)
    return times


def ratio(times: list[float], others: list[float]) -> float:
    """The median ratio within each turn."""
    return median(one / other for one, other in zip(times, others, strict=True))


def build(precision: Precision) -> Llama:
    """Layers with random weights, packed as when a checkpoint is loaded."""
    body = Llama(SIZES).eval().requires_grad_(False)
    for parent in list(body.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear):
                continue
            kind = precision.layer_class("body.layers.0", child.in_features)
            if kind is not None:
                setattr(parent, name, kind(child.weight.data, None))
    return body


def reads(body: Llama, sequences: int, tokens: int, exact: bool) -> Callable[[], object]:
    """Work that reads tokens of some sequences in one pass."""
    cache = KVCache(SIZES, sequences, FILLED + tokens, "cpu", torch.float32)
    cache.keys.normal_()
    cache.values.normal_()
    cache.exact = exact
    inputs = torch.randn(sequences, tokens, SIZES.hidden_size)
    position_ids = torch.arange(FILLED, FILLED + tokens).expand(sequences, -1)

    def work() -> None:
        cache.length = FILLED
        body(inputs, position_ids, cache)

    return work


def attentions(sequences: int, slots: int) -> dict[str, Callable[[], object]]:
    """Both kernels for a single query of each sequence, over some slots of a longer cache."""
    heads, size = SIZES.num_attention_heads, SIZES.head_dim
    query = torch.randn(sequences, heads, 1, size)
    key, value = (torch.randn(sequences, heads, 700, size)[:, :, :slots] for _ in range(2))

    def repeated(kernel: Callable[[Tensor, Tensor, Tensor, None], Tensor]) -> Callable[[], object]:
        return lambda: [kernel(query, key, value, None) for _ in range(CALLS)]

    return {"few": repeated(attend_few_queries), "torch": repeated(F.scaled_dot_product_attention)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precisions", nargs="*", default=["auto", "fp16", "int8", "fp32"])
    parser.add_argument("--images", nargs="+", type=int, default=[1, 3, 8])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    with torch.no_grad():
        for name in options.precisions:
            body = build(resolve_precision(name, "cpu"))
            exact = rounds_inputs(body)
            for images in options.images:
                sequences = 2 * images  # with guidance
                works = {
                    window: reads(body, sequences, window, exact)
                    for window in WINDOWS
                    if sequences * window <= MOST_VECTORS
                }
                works[0] = reads(body, sequences, 1, not exact)
                times = in_turns(works, options.turns, clock)
                for window in works:
                    what = f"window {window}" if window else f"window 1, exact: {not exact}"
                    say(f"{name} | {images} images | {what} | {shown(times[window], times[1])}")
        for sequences in (2, 6, 16):
            for slots in SLOTS:
                found = in_turns(attentions(sequences, slots), 3 * options.turns, clock)
                keys = slots * SIZES.hidden_size
                say(f"{sequences} sequences, keys of {keys} | {shown(found['few'], found['torch'])}")


def shown(times: list[float], others: list[float]) -> str:
    """The median time, and both ratios."""
    best = min(times) / min(others)
    return f"{1000 * median(times):.1f} ms | {ratio(times, others):.2f} x | {best:.2f} x"


if __name__ == "__main__":
    main()
