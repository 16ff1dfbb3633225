"""The demonstration model before training: sizes, tokenizer, first weights."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from ...checkpoints.save import save_model
from ...config import (
    JanusConfig,
    LlamaConfig,
    ProjectorConfig,
    SiglipConfig,
    TokenGenerationConfig,
    TokenHeadConfig,
    UnderstandingConfig,
    VQConfig,
)
from ...loading import load_pipeline
from ...models.janus import Janus
from ...models.layers import RMSNorm
from ...processing.chat import DEFAULT_SYSTEM_PROMPT
from ..objectives.tokenizer import embed_codes
from ..samples import Data
from .scene import SIDE

SPECIAL = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜▁pad▁｜>",
    "<begin_of_image>",
    "<end_of_image>",
    "<image_placeholder>",
    "<|User|>",
    "<|Assistant|>",
)
MAX_VOCAB = 640
_DEPTH_SCALED = ("o_proj", "down_proj", "attn.proj", "fc2")


def write_box(folder: Path, data: Data, seed: int) -> None:
    """Writes an untrained checkpoint, which training starts from.

    Args:
        folder: must not hold a model yet.
        data: the tokenizer learns its words.
        seed: of the first weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(data)
    config = _config(tokenizer.get_vocab_size())
    model = Janus(config)
    initialize(model, seed)
    tokenizer.save(str(folder / "tokenizer.json"))
    bos, eos, _pad, start, end, image, user, assistant = SPECIAL
    _write(folder / "tokenizer_config.json", {"bos_token": bos, "eos_token": eos})
    _write(
        folder / "processor_config.json",
        {
            "sft_format": "deepseek",
            "roles": [user, assistant],
            "image_tag": image,
            "image_start_tag": start,
            "image_end_tag": end,
            "num_image_tokens": config.understanding.vision.num_positions,
            # Measured on trained weights: the released models' own, 5 and 1, are too much for so small a one.
            "image_sampling": {"guidance_scale": 1.5, "temperature": 0.7, "top_p": 0.8},
        },
    )
    _write(
        folder / "preprocessor_config.json",
        {"image_size": SIDE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "min_size": 14},
    )
    save_model(model, folder)  # last: a folder with a config.json is whole


def take_coders(model: Janus, folder: Path) -> None:
    """Copies what sees and what draws pixels from a trained checkpoint, as their stages leave it.

    Raises:
        ValueError: if the checkpoint's parts are of other sizes.
    """
    trained = load_pipeline(folder, dtype=torch.float32).model
    sizes, found = _coder_sizes(model), _coder_sizes(trained)
    if found != sizes:
        raise ValueError(
            f"coders must be of the sizes {sizes}, got {found} in {folder}; use a checkpoint that the "
            "command box trained"
        )
    model.understanding.tower.load_state_dict(trained.understanding.tower.state_dict())
    model.token_generation.vq.load_state_dict(trained.token_generation.vq.state_dict())
    embed_codes(model.token_generation)


def _coder_sizes(model: Janus) -> tuple[object, object]:
    generation = model.config.generation
    return model.config.understanding.vision, getattr(generation, "vq", type(generation).__name__)


def _config(vocab_size: int) -> JanusConfig:
    vision = SiglipConfig(192, 4, 4, 768, SIDE, 16)
    codes, width = 2048, 256
    levels = (1, 1, 2, 4, 8)
    return JanusConfig(
        UnderstandingConfig(vision, ProjectorConfig(vision.hidden_size, width, 2)),
        LlamaConfig(vocab_size, width, 704, 6, 4, 4, 64, 1e-6, 10000.0, 2048),
        TokenGenerationConfig(
            VQConfig(codes, 8, 16, levels, levels, 1, 64, num_groups=8),
            ProjectorConfig(8, width, 2),
            TokenHeadConfig(width, width, codes),
            SIDE,
        ),
    )


def initialize(model: Janus, seed: int) -> None:
    """Sets first weights: variance is kept, and residual branches start from zero or nearly so.

    PyTorch's own convolution weights are a third as large as what keeps the variance; with these the
    tokenizer's latents are so alike that its codebook collapses.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            zero = name.endswith((".conv2", ".proj_out")) and ".vq." in f".{name}"
            deviation = 0.0 if zero else module.weight[0].numel() ** -0.5
        elif isinstance(module, nn.Linear):
            depth = 0.5 if name.endswith(_DEPTH_SCALED) else 1.0
            deviation = depth * module.in_features**-0.5
        elif isinstance(module, nn.Embedding):
            # Places in a picture are learnt only if they can be told from the start.
            places = name.endswith("position_embedding")
            deviation = 1.0 if name.startswith("generation.") else 0.3 if places else 0.02
        else:
            assert not list(module.parameters(recurse=False)) or isinstance(
                module, nn.LayerNorm | nn.GroupNorm | RMSNorm
            )
            continue
        with torch.no_grad():
            module.weight.normal_(0.0, deviation, generator=generator)
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()


def _tokenizer(data: Data) -> Tokenizer:
    """Byte-level BPE, so that every text can be written; each word of the data is one token.

    The system prompt that stands before every conversation is one token too: here it costs no time.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCAB,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(data), trainer)
    tokenizer.add_tokens([AddedToken(DEFAULT_SYSTEM_PROMPT, normalized=False)])
    return tokenizer


def _texts(data: Data) -> Iterator[str]:
    rng = random.Random("words")
    for _ in range(4000):
        for sample in (data.understanding(rng), data.text(rng), data.generation(rng)):
            yield sample.caption or "\n\n".join(f" {part}" for turn in sample.turns for part in turn)


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
