"""Measures how much longer a checkpoint takes to load with a LoRA adapter.

    python -m dev.benchmarks.adapters [PRECISION]

The checkpoint has the widths of Janus-Pro-7B's language model and fewer layers; the adapter has rank 64 in
all of its projections. Loads with and without the adapter take turns, and each turn gives one ratio. The
processor's time is less sensitive to other programs, but ignores that the adapter is added in the background.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from janus_core import load_pipeline
from janus_core.checkpoints.adapter_save import save_adapter
from janus_core.checkpoints.layouts import ORIGINAL, detect_layout
from janus_core.checkpoints.on_meta import build_on_meta
from janus_core.config import JanusConfig, TokenGenerationConfig

TINY = Path(__file__).resolve().parents[2] / "tests" / "golden" / "janus-pro-tiny"
LAYERS, RANK, ROUNDS = 3, 64, 5


def wide_config() -> JanusConfig:
    """The golden checkpoint's config with the widths of Janus-Pro-7B."""
    config = detect_layout(TINY)[1]
    width = 4096
    body = replace(
        config.body,
        hidden_size=width,
        intermediate_size=11008,
        num_hidden_layers=LAYERS,
        num_attention_heads=32,
        num_key_value_heads=32,
        head_dim=128,
    )
    understanding = replace(
        config.understanding, aligner=replace(config.understanding.aligner, hidden_size=width)
    )
    assert isinstance(config.generation, TokenGenerationConfig)  # as in the golden checkpoint
    generation = replace(
        config.generation,
        aligner=replace(config.generation.aligner, hidden_size=width),
        head=replace(config.generation.head, hidden_size=width),
    )
    return JanusConfig(understanding, body, generation)


def write_files(folder: Path) -> Path:
    """Writes the checkpoint in bf16 into a new folder, and the adapter into a folder beside it."""
    config = wide_config()
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("goldens", "*.safetensors", "*.index.json"))
    shapes = {name: tuple(each.shape) for name, each in build_on_meta(config).named_parameters()}
    tensors = {
        name: torch.randn(part.source_shape, dtype=torch.bfloat16) * 0.02
        for name, part in ORIGINAL.key_map.expected_tensors(config, shapes).items()
    }
    save_file(tensors, folder / "model.safetensors")
    assert ORIGINAL.write_config is not None  # the original layout has a writer
    content = ORIGINAL.write_config(config, "bfloat16")
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    matrices = {
        name: (torch.randn(RANK, shape[1]), torch.randn(shape[0], RANK) * 1e-3)
        for name, shape in shapes.items()
        if name.startswith("body.layers.") and len(shape) == 2
    }
    adapter = folder.with_name("adapter")
    save_adapter(adapter, config, matrices, RANK, RANK, folder.name)
    file = adapter / "adapter_model.safetensors"
    with safe_open(file, framework="pt") as saved:
        halves = {name: saved.get_tensor(name).bfloat16() for name in saved.keys()}
    save_file(halves, file)  # as adapters of such models usually are
    return adapter


def timed(folder: Path, precision: str, adapters: list[tuple[Path, float]]) -> tuple[float, float]:
    """Loads a checkpoint; returns the seconds that passed, and those of the processor in all threads."""
    start, used = time.perf_counter(), time.process_time()
    load_pipeline(folder, dtype=precision, adapters=adapters)
    return time.perf_counter() - start, time.process_time() - used


def main(precision: str = "bf16") -> None:
    """Prints the seconds of both kinds of loads, and the ratio."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "wide"
        adapter = write_files(folder)
        gc.collect()
        turns = []
        for _ in range(ROUNDS + 1):  # the first is to warm up
            turns.append([timed(folder, precision, adapters) for adapters in ([], [(adapter, 1.0)])])
        size = (folder / "model.safetensors").stat().st_size / 1e9
        sys.stdout.write(f"{precision}, {size:.1f} GB\n")
        for kind, name in enumerate(("elapsed", "processor")):
            pairs = [[seconds[kind] for seconds in turn] for turn in turns[1:]]
            without, with_adapter = (statistics.median(each) for each in zip(*pairs, strict=True))
            ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
            sys.stdout.write(
                f"{name}: {without:.2f} s without, {with_adapter:.2f} s with the adapter, {ratio:.2f} x\n"
            )


if __name__ == "__main__":
    main(*sys.argv[1:2])
