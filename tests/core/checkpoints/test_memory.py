"""Loading takes one copy of the weights and of adapters: measured in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core.checkpoints.layouts import ORIGINAL
from janus_nodes.janus_core.models.janus import Janus
from safetensors.torch import load_file, save_file
from support.checkpoints import copy_settings, small_config

TESTS = Path(__file__).resolve().parents[2]
TINY = TESTS / "golden" / "janus-pro-tiny"

# Imports belong to the baseline. Each load runs in a fork, whose peak counts from there. A fork has none of
# the pages of libraries' code at first, so a tiny load and a product fetch those that loads use.
PROGRAM = """
import json, os, sys
from support.packages import load_packages
load_packages()
import torch
from transformers import PreTrainedTokenizerFast
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.checkpoints import buffers, reading
from janus_nodes.janus_core.models.quantized import int4_linear

def memory(kind):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(kind + ":"))

tiny, *folders = sys.argv[1:]
for folder in folders:
    child = os.fork()
    if child == 0:
        dtype = "int4" if "int4" in folder else torch.bfloat16
        load_pipeline(tiny, dtype=dtype)
        torch.ones(64, 64).addmm_(torch.ones(64, 64), torch.ones(64, 64))
        baseline = memory("VmRSS")
        adapter = os.path.join(folder, "adapter")
        adapters = [(adapter, 1.0)] if os.path.isdir(adapter) else []
        if dtype == "int4":  # of released size, a model is 15 or 46 times larger, and pieces of it no larger
            reading.CHUNK_BYTES = reading.MIN_MAPPED_BYTES = 2**21
            int4_linear._MAX_FITTED_ELEMENTS = buffers._HUGE_PAGE_BYTES = 2**16
        pipe = load_pipeline(folder, dtype=dtype, adapters=adapters)
        weights = sum(parameter.nbytes for parameter in pipe.model.parameters())
        files = [os.path.join(path, "adapter_model.safetensors") for path, _ in adapters]
        weights += sum(map(os.path.getsize, files))
        print(json.dumps([os.path.basename(folder), weights, memory("VmHWM") - baseline]), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def sparse_checkpoint(folder: Path, dtype: str, dtype_bytes: int, num_layers: int = 10) -> Path:
    """Some 300 MB in bf16, text embedding and head being a tenth each, as in the released models.

    All weights are zero and take no room on the disk.
    """
    config = small_config(
        hidden_size=1024, heads=16, kv_heads=16, head_dim=64, vocab_size=16000, intermediate_size=2816
    )
    config = replace(config, body=replace(config.body, num_hidden_layers=num_layers))
    with torch.device("meta"):
        shapes = {name: tuple(parameter.shape) for name, parameter in Janus(config).named_parameters()}
    header, offset = {}, 0
    for name, part in ORIGINAL.key_map.expected_tensors(config, shapes).items():
        end = offset + torch.Size(part.source_shape).numel() * dtype_bytes
        header[name] = {"dtype": dtype, "shape": part.source_shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    assert ORIGINAL.write_config is not None
    content = ORIGINAL.write_config(config, "bfloat16")
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    copy_settings(folder, config)
    return folder


def write_adapter(folder: Path, checkpoint: Path, rank: int) -> None:
    """An adapter of all projections of the language model, in bf16."""
    pattern = re.compile(r"language_model\.model\.layers\.\d+\..*_proj\.weight")
    tensors = {}
    for name, weight in load_file(checkpoint / "model.safetensors").items():
        if pattern.fullmatch(name):
            module, (rows, columns) = f"base_model.model.{name.removesuffix('.weight')}", weight.shape
            tensors[f"{module}.lora_A.weight"] = torch.ones(rank, columns, dtype=torch.bfloat16)
            tensors[f"{module}.lora_B.weight"] = torch.ones(rows, rank, dtype=torch.bfloat16)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
def test_peak_is_one_copy_of_the_weights_and_adapters(tmp_path: Path) -> None:
    as_saved = sparse_checkpoint(tmp_path / "as saved", "BF16", 2)
    converted = sparse_checkpoint(tmp_path / "converted", "F32", 4)
    pickled = sparse_checkpoint(tmp_path / "pickled", "BF16", 2)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    adapted = sparse_checkpoint(tmp_path / "adapted", "BF16", 2)
    write_adapter(adapted / "adapter", adapted, rank=64)
    in_int4 = sparse_checkpoint(tmp_path / "int4", "BF16", 2, num_layers=44)
    folders = (TINY, as_saved, converted, pickled, adapted, in_int4)
    command = [sys.executable, "-c", PROGRAM, *map(str, folders)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (pickled / "pytorch_model.bin").unlink()
    figures = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(figures) == 5
    for name, weights, peak in figures:
        assert weights > 300e6
        assert peak <= 1.15 * weights, f"{name}: {peak / weights:.3f} times the weights"
