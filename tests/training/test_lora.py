"""LoRA adapters from training: saved as PEFT's, loaded again with the same answers, and trained further."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import DEMONSTRATION, TextSampling, load_pipeline
from janus_nodes.janus_core.checkpoints.adapters import read_adapters
from janus_nodes.janus_core.training.__main__ import main
from janus_nodes.janus_core.training.folder_data import CONVERSATIONS
from janus_nodes.janus_core.training.lora import add_adapters, load_adapter
from PIL import Image
from safetensors.torch import load_file
from support.adapters import distance, edit_adapter, logits, model_tree, write_adapter
from support.checkpoints import GOLDEN
from torch import Tensor

BASE = GOLDEN / "janus-pro-tiny"
QUESTION = "What is this called?"


def write_data(folder: Path, answer: str) -> Path:
    """One image with a conversation."""
    folder.mkdir()
    Image.new("RGB", (20, 20), (80, 10, 200)).save(folder / "a.png")
    line = {"image": "a.png", "turns": [[QUESTION, answer]]}
    (folder / CONVERSATIONS).write_text(json.dumps(line), encoding="utf-8")
    return folder


def picture(folder: Path) -> Tensor:
    with Image.open(folder / "a.png") as image:
        return torch.from_numpy(np.array(image)).float()[None] / 255


def tune(base: Path, data: Path, run: Path, *options: str) -> Path:
    sizes = ("--batch-size", "2", "--learning-rate", "1e-2", "--dtype", "fp32")
    main(["finetune", str(base), str(data), str(run), *sizes, *options])
    return run / "adapter"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with adapters of rank 3 on the golden checkpoint."""
    root = tmp_path_factory.mktemp("lora")
    tune(BASE, write_data(root / "data", "violet"), root / "run", "--lora", "3", "--steps", "4")
    return root / "run"


def test_the_saved_adapter_gives_the_merged_checkpoint(run: Path) -> None:
    adapted = load_pipeline(BASE, dtype=torch.float32, adapters=[(run / "adapter", 1.0)])
    merged = load_pipeline(run / "checkpoint", dtype=torch.float32)
    assert distance(logits(adapted), logits(merged)) <= 1e-4
    assert distance(logits(adapted), logits(load_pipeline(BASE, dtype=torch.float32))) > 0.01
    options = TextSampling(max_new_tokens=12)
    images = picture(run.parent / "data")
    assert adapted.understand(images, QUESTION, options) == merged.understand(images, QUESTION, options)


def test_peft_loads_the_saved_adapter_on_the_reference_s_modules(run: Path) -> None:
    peft = pytest.importorskip("peft")
    tensors: dict[str, Tensor] = {}
    for file in BASE.glob("*.safetensors"):
        tensors |= load_file(file)
    tree = model_tree({name: tensor.float() for name, tensor in tensors.items()})
    wrapped = peft.PeftModel.from_pretrained(tree, str(run / "adapter"))
    merged = wrapped.merge_and_unload().state_dict()
    expected = load_file(run / "checkpoint" / "model.safetensors")
    for name, weight in expected.items():
        torch.testing.assert_close(merged[name], weight.float(), rtol=0, atol=1e-5)
    config = json.loads((run / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (3, 6, "janus-pro-tiny")
    projections = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["target_modules"] == projections


def test_training_goes_on_from_a_saved_adapter(run: Path, tmp_path: Path) -> None:
    start = load_pipeline(BASE, dtype=torch.float32)
    add_adapters(start.model.body, 3, seed=5)
    (adapter,) = read_adapters(BASE, [(run / "adapter", 1.0)])
    load_adapter(start.model.body, adapter, 3)
    adapted = load_pipeline(BASE, dtype=torch.float32, adapters=[(run / "adapter", 1.0)])
    assert distance(logits(start), logits(adapted)) <= 1e-4
    data, options = run.parent / "data", ("--adapter", str(run / "adapter"), "--steps", "1")
    further = tune(BASE, data, tmp_path / "further", "--lora", "3", *options)
    merged = load_pipeline(tmp_path / "further" / "checkpoint", dtype=torch.float32)
    found = load_pipeline(BASE, dtype=torch.float32, adapters=[(further, 1.0)])
    assert distance(logits(found), logits(merged)) <= 1e-4
    # The same command with another start is another run.
    with pytest.raises(ValueError, match=r"from the same start"):
        tune(BASE, data, tmp_path / "further", "--lora", "3", "--steps", "1")


def test_all_weights_are_trained_from_a_merged_adapter(run: Path, tmp_path: Path) -> None:
    data, options = run.parent / "data", ("--adapter", str(run / "adapter"), "--steps", "1")
    adapter = tune(BASE, data, tmp_path / "whole", *options, "--learning-rate", "1e-9")
    assert not adapter.exists()
    tuned = load_pipeline(tmp_path / "whole" / "checkpoint", dtype=torch.float32)
    adapted = load_pipeline(BASE, dtype=torch.float32, adapters=[(run / "adapter", 1.0)])
    assert distance(logits(tuned), logits(adapted)) <= 1e-4


def test_adapters_that_cannot_be_trained_further_are_refused(run: Path, tmp_path: Path) -> None:
    data = run.parent / "data"

    def refused(adapter: Path, rank: str, text: str) -> None:
        with pytest.raises(ValueError, match=text):
            tune(BASE, data, tmp_path / "run", "--adapter", str(adapter), "--lora", rank, "--steps", "1")

    refused(
        run / "adapter", "2", r"must be of rank 2 .*, got rank 3 for body\.layers\.0\..*; leave out --lora"
    )
    layer = "language_model.model.layers.0"
    apart = write_adapter(tmp_path / "apart", {f"{layer}.mlp.gate_proj": None, f"{layer}.mlp.up_proj": None})
    refused(apart, "2", r"got several first matrices for body\.layers\.0\.mlp\.gate_up_proj\.weight; leave")
    head = write_adapter(tmp_path / "head", {"gen_head.vision_head": None})
    refused(
        head, "2", r"must change the blocks of the language model only .* got one of generation\.head\.vis"
    )
    norm = write_adapter(tmp_path / "whole", {}, whole=(f"{layer}.self_attn.o_proj.weight",))
    refused(norm, "2", r"got full weights for body\.layers\.0\.self_attn\.o_proj\.weight")
    broken = edit_adapter(norm, lambda tensors: tensors.update({"x.weight": torch.ones(1)}))
    refused(broken, "2", r"got 1 of 2 names that it lacks: x\.weight")


@pytest.mark.slow
def test_fifty_steps_teach_a_word(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", "zebra")
    adapter = tune(DEMONSTRATION, data, tmp_path / "run", "--lora", "8", "--steps", "50")
    options = TextSampling(max_new_tokens=8)
    plain = load_pipeline(DEMONSTRATION, dtype=torch.float32)
    assert "zebra" not in plain.understand(picture(data), QUESTION, options)[0]
    adapted = load_pipeline(DEMONSTRATION, dtype=torch.float32, adapters=[(adapter, 1.0)])
    assert adapted.understand(picture(data), QUESTION, options) == ["zebra"]
