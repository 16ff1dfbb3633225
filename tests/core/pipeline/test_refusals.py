"""What is refused instead of being taken for something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling, convert_bin, load_pipeline
from janus_nodes.janus_core.sampling.logits import TokenSampler
from safetensors.torch import load_file, save_file
from support.checkpoints import copy_checkpoint, edit_json
from support.sampling import published


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint."""
    return copy_checkpoint("janus-pro-tiny", tmp_path / "model")


def test_foreign_pickles_are_not_converted(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")
    torch.save({"x": torch.zeros(3)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="unknown: x"):
        convert_bin(folder)
    assert not list(folder.glob("*.safetensors*"))


def test_conversion_reports_files_and_can_be_stopped(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt(f"{done} of {total}")

    with pytest.raises(KeyboardInterrupt, match="0 of 1"):
        convert_bin(folder, stop)
    assert not list(folder.glob("*.safetensors*"))


def test_an_incomplete_set_of_weights_does_not_hide_a_whole_one(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert load_pipeline(folder).folder == folder


def test_a_tensor_in_two_shards_is_refused(folder: Path) -> None:
    first, second = sorted(folder.glob("*.safetensors"))
    tensors = load_file(second)
    name, tensor = next(iter(load_file(first).items()))
    save_file({**tensors, name: tensor}, second)
    with pytest.raises(ValueError, match=f"must hold each tensor once, got {name} in "):
        load_pipeline(folder)


def test_quantized_weights_are_refused(folder: Path) -> None:
    file = sorted(folder.glob("*.safetensors"))[0]
    tensors = load_file(file)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name].to(torch.int8)}, file)
    with pytest.raises(
        ValueError, match=f"{name} in .* must contain floating-point numbers, got another dtype"
    ):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("file", "entry", "message"),
    [
        ("processor_config.json", {"roles": ["x"]}, "must be two texts, of user and assistant, got"),
        ("processor_config.json", {"roles": "ab"}, "must be two texts, of user and assistant, got 'ab'"),
        ("processor_config.json", {"sft_format": ["x"]}, "chat template must be one of"),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5]}, "image_mean must be three numbers"),
        ("preprocessor_config.json", {"image_std": [0, 0, 0]}, "image_std must be above 0"),
    ],
)
def test_unusable_settings_are_named(folder: Path, file: str, entry: dict[str, Any], message: str) -> None:
    edit_json(folder / file, lambda config: config.update(entry))
    with pytest.raises(ValueError, match=message):
        load_pipeline(folder)


def test_deeply_nested_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json must be JSON"):
        load_pipeline(folder)


@pytest.mark.parametrize(("key", "value"), [("hidden_size", 64.0), ("rms_norm_eps", "1e-6")])
def test_numbers_of_the_wrong_kind_are_named(folder: Path, key: str, value: object) -> None:
    edit_json(folder / "config.json", lambda config: config["language_config"].update({key: value}))
    with pytest.raises(ValueError, match=f"{key} must be (int|float), got {value!r}"):
        load_pipeline(folder)


def test_eight_bit_values_as_floats_are_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match="image must contain numbers from 0 to 1, got up to 255; divide"):
        pipe.encode_tokens(torch.full((1, 8, 8, 3), 255.0))


def test_inputs_that_are_no_tensor_are_named(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match=r"images must be a tensor \[B, H, W, C\], got list"):
        pipe.encode_tokens([torch.zeros(8, 8, 3)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompt must hold text, got None"):
        pipe.generate(None)  # type: ignore[arg-type]


def test_placeholders_outside_the_question_are_named(pipe: JanusPipeline) -> None:
    tag = "<image_placeholder>"
    with pytest.raises(ValueError, match=f"negative_prompt must hold no {tag}"):
        pipe.generate("A cat", negative_prompt=f"{tag}")
    with pytest.raises(ValueError, match=f"system_prompt must hold no {tag}"):
        pipe.understand(None, "What?", system_prompt=f"Look: {tag}")


@pytest.mark.parametrize("temperature", [1e-6, 1e-38, 1e-45])
def test_a_tiny_temperature_takes_the_likeliest(temperature: float) -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(3)) * 5
    drawn = TokenSampler(published(TokenSampling(temperature=temperature)), range(4)).draw(logits)
    assert drawn.tolist() == logits.argmax(dim=-1).tolist()


def test_an_answer_longer_than_the_first_cache_is_the_same(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(3, 40, 50, 3, generator=torch.Generator().manual_seed(1))
    questions = ["What?", "Which colours are there in the picture?", "Why?"]
    options = TextSampling(max_new_tokens=30)
    whole = pipe.understand(images, questions, options)
    monkeypatch.setattr("janus_nodes.janus_core.sampling.text.CACHE_GROWTH", 7)
    assert pipe.understand(images, questions, options) == whole
