"""The tokenizer: the reference's ids and texts, special tokens by their strings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.processing.tokenizer import JanusTokenizer, SpecialTokens, read_tokenizer
from support.checkpoints import copy_checkpoint, edit_json


def test_special_tokens_have_the_recorded_ids(recorded: Any, pipe: JanusPipeline) -> None:
    tokenizer = pipe.prompts.tokenizer
    assert tokenizer.bos_id == recorded.value("bos_token_id")
    assert tokenizer.eos_id == recorded.value("eos_token_id")
    assert tokenizer.pad_id == recorded.value("pad_id")
    assert tokenizer.image_id == recorded.value("image_id")
    assert tokenizer.image_start_id == recorded.value("image_start_id")
    assert tokenizer.image_end_id == recorded.value("image_end_id")
    assert tokenizer.max_id == recorded.value("len_tokenizer") - 1


def test_strings_have_the_recorded_ids_and_come_back(recorded: Any, pipe: JanusPipeline) -> None:
    tokenizer = pipe.prompts.tokenizer
    for case in recorded.value("tokenize_strings"):
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]
        assert tokenizer.encode(case["text"])[1:] == case["ids_no_special"], case["text"]
        assert tokenizer.decode(case["ids"]) == case["decode_skip"], case["text"]


def renumbered_tokenizer(source: Path, folder: Path) -> Path:
    """A tokenizer whose special tokens have other numbers, as conversions of the same model have."""
    content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    names = [token["content"] for token in content["added_tokens"]]
    assert not set(names) & set(content["model"]["vocab"])
    for token, name in zip(content["added_tokens"], reversed(names), strict=True):
        token["content"] = name
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_special_tokens_are_found_by_string_whatever_their_ids(
    golden_root: Path, pipe: JanusPipeline, tmp_path: Path
) -> None:
    file = renumbered_tokenizer(golden_root / "janus-pro-tiny", tmp_path)
    tokenizer = JanusTokenizer(file, SpecialTokens())
    assert tokenizer.pad_id != pipe.prompts.tokenizer.pad_id
    text = "<image_placeholder><begin_of_image><｜▁pad▁｜>"
    expected = [tokenizer.bos_id, tokenizer.image_id, tokenizer.image_start_id, tokenizer.pad_id]
    assert tokenizer.encode(text) == expected


def test_configs_may_rename_special_tokens(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    edit_json(
        folder / "processor_config.json",
        lambda config: config.update(image_tag="<patch_placeholder>", image_start_tag="<|ref|>"),
    )
    edit_json(
        folder / "tokenizer_config.json",
        lambda config: config.update(eos_token={"content": "<|/ref|>", "lstrip": False}),
    )
    tokenizer = read_tokenizer(folder)
    assert tokenizer.special.image == "<patch_placeholder>"
    assert tokenizer.special.image_start == "<|ref|>"
    assert tokenizer.special.eos == "<|/ref|>"
    assert tokenizer.special.pad == "<｜▁pad▁｜>"


def test_missing_special_tokens_are_named(golden_root: Path) -> None:
    special = SpecialTokens(image="<no_such_token>")
    with pytest.raises(
        ValueError, match="must contain the special tokens of Janus, got none named <no_such_token>"
    ):
        JanusTokenizer(golden_root / "janus-pro-tiny" / "tokenizer.json", special)


def test_a_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer.json must be a tokenizer, got: .*; download it again"):
        JanusTokenizer(file, SpecialTokens())


def test_a_missing_tokenizer_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold tokenizer\.json, got none"):
        read_tokenizer(tmp_path)
