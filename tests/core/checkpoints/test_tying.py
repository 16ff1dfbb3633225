"""Input and output embeddings are tied where transformers ties them, whatever a config.json leaves out.

Version 5 of transformers asks the root of config.json, whose entry is true by default, and writes no output
embedding then; version 4 asks the language model's part. Neither ties two embeddings that differ.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import load_pipeline, save_checkpoint
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.models.janus import Janus
from safetensors.torch import load_file, save_file
from support.checkpoints import (
    GOLDEN,
    TOKENIZER_FILES,
    assert_same_weights,
    edit_json,
    edit_tensors,
    randomize,
    single_file_checkpoint,
)
from support.parametrize import slow_except
from torch import Tensor
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
)

pytestmark = pytest.mark.usefixtures("no_grad")

WIDTH = 64
TOKENS = torch.tensor([[3, 17, 200, 41, 5, 99]])
INPUT, OUTPUT = "model.language_model.embed_tokens.weight", "lm_head.weight"


def save_oracle(folder: Path, root: bool, text: bool) -> Path:
    """A checkpoint that transformers wrote, with nothing changed."""
    sizes = {"hidden_size": WIDTH, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = JanusConfig(
        text_config=LlamaConfig(**sizes, intermediate_size=90, vocab_size=448, tie_word_embeddings=text),
        vision_config=JanusVisionConfig(
            **{**sizes, "hidden_size": 32}, image_size=16, patch_size=4, projection_dim=WIDTH,
            num_image_tokens=16,
        ),
        vq_config=JanusVQVAEConfig(
            base_channels=32, channel_multiplier=[1, 1, 1], num_embeddings=50, num_res_blocks=1,
            latent_channels=32, projection_dim=WIDTH, image_token_embed_dim=WIDTH,
        ),
        tie_word_embeddings=root,
    )  # fmt: skip
    model = JanusForConditionalGeneration(config).float()
    randomize(model)
    model.tie_weights()
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(GOLDEN / "janus-pro-tiny" / name, folder / name)
    return folder


def logits(model: Janus) -> Tensor:
    """Our logits of the tokens."""
    cache = KVCache(model.body.config, 1, TOKENS.shape[1], "cpu", torch.float32)
    positions = torch.arange(TOKENS.shape[1])[None]
    return model.body.lm_head(model.body(model.body.embed_tokens(TOKENS), positions, cache))


def is_tied(model: Janus) -> bool:
    """Whether one parameter is both embeddings."""
    return model.body.lm_head.weight is model.body.embed_tokens.weight


def forget(*path: str) -> Callable[[Path], object]:
    """Removes an entry from a folder's config.json."""

    def edit(config: dict[str, Any]) -> None:
        for name in path[:-1]:
            config = config[name]
        del config[path[-1]]

    return lambda folder: edit_json(folder / "config.json", edit)


def add_output(scale: float) -> Callable[[Path], object]:
    """Adds an output embedding to a folder's weights, the input embedding times `scale`."""
    return lambda folder: edit_tensors(folder, lambda found: found.update({OUTPUT: found[INPUT] * scale}))


def nothing(folder: Path) -> None:
    """Leaves a folder as it is."""


# Root entry, the text's entry, what is changed in the folder, and whether the embeddings are tied.
CASES: dict[str, tuple[bool, bool, Callable[[Path], object], bool]] = {
    "as version 5 writes it": (True, False, nothing, True),
    "untied": (False, False, nothing, False),
    "both true": (True, True, nothing, True),
    "only the text's true": (False, True, nothing, False),
    "no root entry": (True, True, forget("tie_word_embeddings"), True),
    "no entry of the text": (True, False, forget("text_config", "tie_word_embeddings"), True),
    "twice the same": (True, False, add_output(1.0), True),
    "two that differ": (True, False, add_output(-2.0), False),
    "untied, as version 4 wrote it": (False, False, forget("tie_word_embeddings"), False),
}


@pytest.mark.parametrize("case", slow_except(CASES, "as version 5 writes it", "untied", "two that differ"))
def test_embeddings_are_tied_as_by_transformers(tmp_path: Path, case: str) -> None:
    root, text, edit, tied = CASES[case]
    folder = save_oracle(tmp_path / "model", root, text)
    edit(folder)
    oracle = JanusForConditionalGeneration.from_pretrained(folder).eval()
    assert (oracle.lm_head.weight is oracle.get_input_embeddings().weight) is tied
    pipe = load_pipeline(folder, dtype=torch.float32)
    torch.testing.assert_close(logits(pipe.model), oracle(TOKENS).logits, rtol=0, atol=1e-5)
    assert is_tied(pipe.model) is pipe.model.config.body.tie_word_embeddings is tied
    save_checkpoint(pipe, tmp_path / "copy")
    again = load_pipeline(tmp_path / "copy", dtype=torch.float32)
    assert_same_weights(again.model, pipe.model)
    assert again.model.config == pipe.model.config
    assert is_tied(again.model) is tied


def test_version_4_ties_by_the_entry_of_the_text(tmp_path: Path) -> None:
    folder = save_oracle(tmp_path / "model", True, True)
    edit_json(folder / "config.json", lambda config: config.update(tie_word_embeddings=False))
    assert OUTPUT not in load_file(folder / "model.safetensors")
    assert is_tied(load_pipeline(folder, dtype=torch.float32).model)


def test_without_an_output_embedding_untied_weights_are_incomplete(tmp_path: Path) -> None:
    folder = save_oracle(tmp_path / "model", True, False)
    edit_json(folder / "config.json", lambda config: config.update(tie_word_embeddings=False))
    with pytest.raises(ValueError, match=r"1 missing: lm_head\.weight"):
        load_pipeline(folder, dtype=torch.float32)


@pytest.mark.parametrize("scale", [None, 1.0, -2.0])
def test_the_original_layout_ties_by_the_language_model(tmp_path: Path, scale: float | None) -> None:
    folder = single_file_checkpoint(tmp_path / "model")
    edit_json(
        folder / "config.json", lambda config: config["language_config"].update(tie_word_embeddings=True)
    )
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors["language_model.model.embed_tokens.weight"].clone()
    output = tensors.pop("language_model.lm_head.weight")
    if scale is not None:
        tensors["language_model.lm_head.weight"] = output = embedding * scale
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    model = load_pipeline(folder, dtype=torch.float32).model
    tied = scale != -2.0
    assert is_tied(model) is model.config.body.tie_word_embeddings is tied
    assert torch.equal(model.body.lm_head.weight, embedding if tied else output)


@pytest.mark.parametrize("dtype", ["auto", "fp16", "int8", "int4"])
@pytest.mark.parametrize("scale", [None, 1.0, -2.0])
def test_packed_output_embeddings_are_those_of_the_file(
    tmp_path: Path, dtype: str, scale: float | None
) -> None:
    folder = single_file_checkpoint(tmp_path / "model")
    edit_json(
        folder / "config.json", lambda config: config["language_config"].update(tie_word_embeddings=True)
    )
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors["language_model.model.embed_tokens.weight"]
    output = embedding if scale is None else embedding * scale
    tensors["language_model.lm_head.weight"] = output.clone()
    if scale is None:
        del tensors["language_model.lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    hidden_states = torch.randn(3, embedding.shape[1], generator=torch.Generator().manual_seed(0))
    logits = load_pipeline(folder, dtype=dtype).model.body.lm_head(hidden_states)
    expected = hidden_states @ output.float().T
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.02 * float(expected.abs().max()))
