"""Loading: every layout and dtype fills the whole model, and what does not belong is named."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import PRECISIONS, JanusPipeline, TextSampling, load_pipeline
from janus_nodes.janus_core.checkpoints import reading
from janus_nodes.janus_core.checkpoints.load import load_model
from support.adapters import write_adapter
from support.checkpoints import (
    assert_same_weights,
    copy_checkpoint,
    edit_json,
    edit_tensors,
    single_file_checkpoint,
    small_config,
    write_checkpoint,
)
from support.parametrize import slow_except
from torch import Tensor

EMBEDDING = "language_model.model.embed_tokens.weight"
NORM = "language_model.model.norm.weight"
CODEBOOK = "gen_vision_model.quantize.embedding.weight"
BROKEN = (float("nan"), float("inf"), -float("inf"))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def test_shards_single_file_and_pickle_give_identical_weights(
    golden_root: Path, pipe: JanusPipeline, tmp_path: Path
) -> None:
    pickled = load_pipeline(golden_root / "janus-pro-tiny-bin", dtype=torch.float32)
    assert_same_weights(pipe.model, pickled.model)
    single = load_pipeline(single_file_checkpoint(tmp_path / "model"), dtype=torch.float32)
    assert_same_weights(pipe.model, single.model)


def test_nothing_stays_without_memory_or_on_another_device(pipe: JanusPipeline) -> None:
    tensors = [*pipe.model.parameters(), *pipe.model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert not any(tensor.requires_grad for tensor in tensors)
    assert not pipe.model.training


@pytest.mark.parametrize("dtype", slow_except(DTYPES, torch.bfloat16, torch.float16))
def test_weights_take_the_dtype_asked_for_but_the_image_tokenizer_is_never_fp16(
    golden_root: Path, pipe: JanusPipeline, dtype: torch.dtype
) -> None:
    model = load_model(golden_root / "janus-pro-tiny", dtype=dtype)
    exact = pipe.model.state_dict()
    for name, tensor in model.state_dict().items():
        in_vq = name.startswith("generation.vq.")
        assert tensor.dtype == (torch.float32 if in_vq and dtype is torch.float16 else dtype), name
        assert torch.equal(tensor, exact[name].to(tensor.dtype)), name


@pytest.mark.parametrize(
    "dtype", slow_except([torch.bfloat16, torch.float16, *PRECISIONS], torch.float16, "int8", "int4")
)
def test_every_precision_sees_draws_and_answers(golden_root: Path, dtype: torch.dtype | str) -> None:
    pipe = load_pipeline(golden_root / "janus-pro-tiny", dtype=dtype)
    images = pipe.generate("A cat").images
    assert images.dtype == torch.float32
    assert bool(torch.isfinite(images).all())
    assert len(pipe.understand(images, "What is it?", TextSampling(max_new_tokens=3))) == 1
    assert pipe.encode_tokens(images).shape == (1, 16)


def test_progress_counts_bytes_up_to_the_whole(golden_root: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_model(golden_root / "janus-pro-tiny", on_progress=lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    assert done == sorted(done)
    assert len({total for _, total in seen}) == 1
    assert done[-1] == seen[-1][1] > 100_000


def test_tied_embeddings_are_one_tensor(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path / "model", small_config(tie=True))
    edit_tensors(tmp_path / "model", lambda tensors: tensors.pop("language_model.lm_head.weight"))
    model = load_model(tmp_path / "model", dtype=torch.float32)
    assert_same_weights(model, written)
    assert model.body.lm_head.weight.data_ptr() == model.body.embed_tokens.weight.data_ptr()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint in one file, to damage."""
    return single_file_checkpoint(tmp_path / "model")


def in_place(name: str, value: float) -> Callable[[dict[str, Tensor]], object]:
    """An edit that breaks one number of a tensor."""
    return lambda tensors: tensors[name].view(-1)[-1:].fill_(value)


@pytest.mark.parametrize(
    ("name", "value"),
    slow_except(
        product((NORM, EMBEDDING, CODEBOOK), BROKEN),
        (NORM, BROKEN[0]),
        (EMBEDDING, BROKEN[1]),
        (CODEBOOK, BROKEN[2]),
    ),
)
def test_broken_numbers_are_named(folder: Path, name: str, value: float) -> None:
    edit_tensors(folder, in_place(name, value))
    expected = rf"model\.safetensors must hold finite weights, got NaN or infinity in {name}"
    with pytest.raises(ValueError, match=expected):
        load_pipeline(folder)


def test_numbers_too_large_for_fp16_are_named_and_load_in_fp32(folder: Path) -> None:
    edit_tensors(folder, in_place(EMBEDDING, 1e6))
    with pytest.raises(ValueError, match=r"\(as torch\.float16\); .* load it in fp32"):
        load_pipeline(folder, dtype=torch.float16)
    load_pipeline(folder, dtype=torch.float32)


def test_large_weights_are_no_broken_ones(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: tensors[EMBEDDING].fill_(3e38))
    load_pipeline(folder, dtype=torch.float32)


def test_missing_and_unknown_names_are_listed(folder: Path) -> None:
    def rename(tensors: dict[str, Tensor]) -> None:
        tensors["language_model.model.normal.weight"] = tensors.pop(NORM)

    edit_tensors(folder, rename)
    expected = (
        rf"\(original layout\), got 1 missing: {NORM}; 1 unknown: language_model\.model\.normal\.weight;"
    )
    with pytest.raises(ValueError, match=expected):
        load_pipeline(folder)


def test_long_lists_of_names_are_cut(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "vision" in name])
    with pytest.raises(
        ValueError, match=r"got \d\d+ missing: (\S+, ){4}\S+ and \d+ more; use config\.json and weights"
    ):
        load_pipeline(folder)


def test_unused_tensors_of_the_released_files_are_no_error(folder: Path) -> None:
    def add(tensors: dict[str, Tensor]) -> None:
        tensors["gen_vision_model.quantize.codebook_used"] = torch.full((8,), torch.nan)
        tensors["vision_model.vision_tower.attn_pool.latent"] = torch.zeros(1, 1, 48)

    edit_tensors(folder, add)
    load_pipeline(folder)


@pytest.mark.parametrize(
    ("name", "shape"),
    [(EMBEDDING, (448, 63)), (NORM, (64, 1)), ("vision_model.vision_tower.pos_embed", (16, 48))],
)
def test_wrong_shapes_are_named(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    edit_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(shape)}))
    expected = (
        rf"{name} in .*model\.safetensors must have shape \[.*\] by config\.json, got \[.*{shape[-1]}\]"
    )
    with pytest.raises(ValueError, match=expected):
        load_pipeline(folder)


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused(folder: Path) -> None:
    edit_json(folder / "config.json", lambda config: config["language_config"].update(vocab_size=430))

    def shrink(tensors: dict[str, Tensor]) -> None:
        for name in (EMBEDDING, "language_model.lm_head.weight"):
            tensors[name] = tensors[name][:430].clone()

    edit_tensors(folder, shrink)
    with pytest.raises(
        ValueError, match="vocab_size must exceed every id of the tokenizer, got 430 for ids up to"
    ):
        load_pipeline(folder)


def test_an_unknown_template_is_refused(golden_root: Path) -> None:
    with pytest.raises(ValueError, match=r"chat template must be one of .*, got 'chatml'"):
        load_pipeline(golden_root / "janus-pro-tiny", template="chatml")


def test_template_and_roles_are_overridable(golden_root: Path) -> None:
    path = golden_root / "janus-pro-tiny"
    chat = load_pipeline(path, template="deepseek_old").prompts.chat
    assert (chat.user, chat.assistant) == ("User", "Assistant")
    chat = load_pipeline(path, roles=("Human", "Robot")).prompts.chat
    assert (chat.name, chat.user, chat.assistant) == ("deepseek", "Human", "Robot")


def test_a_failed_load_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"broken")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="must be a complete weights file"):
        load_pipeline(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", slow_except(["janus-pro-tiny", "janus-pro-tiny-bin"], "janus-pro-tiny"))
def test_unaligned_parts_of_large_tensors_are_joined(
    pipe: JanusPipeline, golden_root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(reading, "MIN_MAPPED_BYTES", 1)
    monkeypatch.setattr(reading, "MAPPINGS_PER_FILE", 11)
    monkeypatch.setattr(reading, "MAPPINGS_PER_PICKLE", 11)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 777)
    loaded: Any = load_model(golden_root / name, dtype=torch.float32)
    assert_same_weights(loaded, pipe.model)


def test_adapters_change_weights_in_inference_mode(golden_root: Path, tmp_path: Path) -> None:
    """ComfyUI runs nodes in it, and background threads start outside of it."""
    adapter = write_adapter(tmp_path / "a", {"language_model.model.layers.0.self_attn.q_proj": None})
    choice: dict[str, Any] = {"dtype": torch.float32, "adapters": [(adapter, 1.0)]}
    expected = load_pipeline(golden_root / "janus-pro-tiny", **choice)
    with torch.inference_mode():
        found = load_pipeline(golden_root / "janus-pro-tiny", **choice)
    assert_same_weights(found.model, expected.model)
