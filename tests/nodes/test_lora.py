"""Janus LoRA with an adapter that this package has trained, on whole and packed weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import folder_paths
import pytest
import torch
from janus_nodes.janus_core import TextSampling, load_pipeline
from janus_nodes.janus_core.training.__main__ import main
from janus_nodes.nodes import memory
from janus_nodes.nodes.lora import JanusLora
from janus_nodes.nodes.understand import JanusUnderstand
from PIL import Image
from support.node_runs import run

pytestmark = pytest.mark.usefixtures("sent")  # texts go onto running nodes

COLOUR, QUESTION = (80, 10, 200), "What is this called?"


@pytest.fixture
def trained(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of `finetune --lora`, whose adapter is then put into a configured folder as `mine`."""
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (20, 20), COLOUR).save(data / "a.png")
    line = {"image": "a.png", "turns": [[QUESTION, "violet"]]}
    (data / "conversations.jsonl").write_text(json.dumps(line), encoding="utf-8")
    sizes = (
        "--lora",
        "3",
        "--steps",
        "20",
        "--batch-size",
        "2",
        "--learning-rate",
        "1e-2",
        "--dtype",
        "fp32",
    )
    main(["finetune", str(checkpoint), str(data), str(tmp_path / "run"), *sizes])
    shutil.copytree(tmp_path / "run" / "adapter", tmp_path / "janus_loras" / "mine")
    folders = ([str(tmp_path / "janus_loras")], set())
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "janus_loras", folders)
    return tmp_path / "run"


@pytest.mark.slow
def test_a_trained_adapter_answers_alike_at_once_merged_and_through_the_nodes(
    trained: Path, checkpoint: Path
) -> None:
    image, options = torch.tensor(COLOUR).expand(1, 20, 20, 3) / 255, TextSampling(max_new_tokens=12)
    expected = load_pipeline(trained / "checkpoint", dtype=torch.float32).understand(image, QUESTION, options)
    plain = load_pipeline(checkpoint, dtype=torch.float32)
    adapted = load_pipeline(checkpoint, dtype=torch.float32, adapters=[(trained / "adapter", 1.0)])
    assert adapted.understand(image, QUESTION, options) == expected
    base = memory.load(checkpoint, "fp32", None)
    (model,) = run(JanusLora, model=base, adapter="mine", strength=1.0)
    ask = {"image": image, "question": QUESTION, "max_new_tokens": 12}
    assert run(JanusUnderstand, model=model, **ask)[0] == expected
    before = plain.understand(image, QUESTION, options)
    assert run(JanusUnderstand, model=base, **ask)[0] == before != expected
    # Packed weights round differently, but alike in the core and through the nodes.
    packed = load_pipeline(checkpoint, dtype="fp16", adapters=[(trained / "adapter", 1.0)])
    (model,) = run(JanusLora, model=memory.load(checkpoint, "fp16", None), adapter="mine", strength=1.0)
    assert run(JanusUnderstand, model=model, **ask)[0] == packed.understand(image, QUESTION, options)
