"""The demonstration model: its recipe, its tokenizer and its initial weights."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from ...checkpoints.save import save_model
from ...config import FlowGenerationConfig
from ...loading import DEMONSTRATION, load_pipeline
from ...models.flow_generation import FlowGeneration
from ...models.janus import Janus
from ...models.layers import RMSNorm
from ...models.token_generation import TokenGeneration
from ...models.uvit import GlobalResponseNorm
from ...processing.chat import DEFAULT_SYSTEM_PROMPT
from ..objectives.tokenizer import embed_codes
from ..recipe import ADAPTORS, AUTOENCODER, BODY, IMAGE_TOKENIZER, VISION_TOWER, Recipe, Stage
from ..samples import TrainingData

# For two CPU cores. Departures from the papers, each measured (see the model card in assets/janus-shapes):
# - The language model starts from random weights and learns to look at pictures first. After as little as 150
#   steps of text, or after long training on drawing, it keeps guessing and learns to look much more slowly.
# - Looking is learnt quickly and drawing is not, and a conversation asks up to six questions. So batches have
#   four times as many drawings as conversations, in the last stage twice as many.
# - Edits come last, from the annealed weights, with all other tasks mixed in so that nothing is forgotten.
#   Before them, the model learns to copy pictures that cannot be guessed. Without that, it redraws what it
#   understands of the source, and never reads the source's tokens.
# - The vision tower is frozen after its own stage. Trained further with a language model that does not ask
#   for shapes yet, it forgets how to distinguish them.
SHAPES_RECIPE = Recipe(
    (
        Stage("tokenizer", "tokenizer", IMAGE_TOKENIZER, 2700, 16, 1.2e-3),
        Stage("vision", "contrast", VISION_TOWER, 800, 64, 1e-3),
        Stage("looking", "unified", BODY, 400, 24, 1e-3, decay=0.0, shares=(1, 0, 0), lesson="looking"),
        Stage("adaptors", "unified", ADAPTORS, 80, 32, 1e-3, shares=(1, 0, 3)),
        Stage("unified", "unified", BODY, 1400, 44, 1e-3, decay=0.0, shares=(8, 2, 34)),
        Stage("annealing", "unified", BODY, 2200, 44, 1e-3, decay=1.0, shares=(14, 2, 28)),
        Stage(
            "copying",
            "unified",
            BODY,
            500,
            44,
            1e-3,
            decay=0.0,
            shares=(6, 2, 12, 24),
            caption_dropout=0.0,
            lesson="copying",
        ),
        Stage("editing", "unified", BODY, 2400, 44, 1e-3, decay=1.0, shares=(8, 2, 14, 20)),
    )
)

SPECIAL_TOKENS = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜▁pad▁｜>",
    "<begin_of_image>",
    "<end_of_image>",
    "<image_placeholder>",
    "<|User|>",
    "<|Assistant|>",
)
MAX_VOCAB_SIZE = 640


def write_untrained_checkpoint(folder: Path, data: TrainingData, seed: int) -> None:
    """Writes the checkpoint from which training starts, with the sizes and settings of the shipped one.

    The tokenizer is trained on the text of the data; the seed determines the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _train_tokenizer(data)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name in ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        shutil.copyfile(DEMONSTRATION / name, folder / name)
    config = load_pipeline(DEMONSTRATION).model.config
    model = Janus(replace(config, body=replace(config.body, vocab_size=tokenizer.get_vocab_size())))
    initialize_weights(model, seed)
    save_model(model, folder)  # last, since config.json marks the folder as complete


def copy_coders(model: Janus, folder: Path) -> None:
    """Copies the vision tower and the image autoencoder of a checkpoint into a model of their sizes."""
    trained = load_pipeline(folder, dtype=torch.float32).model
    expected, found = _coder_sizes(model), _coder_sizes(trained)
    if found != expected:
        raise ValueError(
            f"coders must be of the sizes {expected}, got {found} in {folder}; use a checkpoint trained by "
            "the command box"
        )
    state = {
        name: value
        for name, value in trained.state_dict().items()
        if any(fnmatch(name, pattern) for pattern in (*VISION_TOWER, *IMAGE_TOKENIZER, *AUTOENCODER))
    }
    model.load_state_dict(state, strict=False)
    if isinstance(model.generation, TokenGeneration):
        embed_codes(model.generation)


def initialize_weights(model: Janus, seed: int) -> None:
    """Sets initial weights that preserve the variance, with residual branches zero or scaled down.

    PyTorch's default for convolutions is a third of what preserves the variance. With it, the latents of the
    image tokenizer are so similar that its codebook collapses.
    """
    generator = torch.Generator().manual_seed(seed)
    is_flow = isinstance(model.generation, FlowGeneration)
    last_of_flow = model.flow_generation.decoder.out_convs[-1].unpatch_conv if is_flow else None
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            # The last of a residual branch of an autoencoder, and of a flow's velocity.
            starts_at_zero = name.endswith((".conv2", ".proj_out")) or module is last_of_flow
            deviation = 0.0 if starts_at_zero else module.weight[0].numel() ** -0.5
        elif isinstance(module, nn.Linear):
            last_of_branch = name.endswith(("o_proj", "down_proj", "attn.proj", "fc2", "linear_2", "mapper"))
            deviation = (0.5 if last_of_branch else 1.0) * module.in_features**-0.5
        elif isinstance(module, nn.Embedding):
            # Positions in a picture are only learnt if they differ clearly from the start.
            is_position = name.endswith("position_embedding")
            deviation = 1.0 if name.startswith("generation.") else 0.3 if is_position else 0.02
        else:
            assert not list(module.parameters(recurse=False)) or isinstance(
                module, nn.LayerNorm | nn.GroupNorm | RMSNorm | GlobalResponseNorm
            )
            continue
        with torch.no_grad():
            module.weight.normal_(0.0, deviation, generator=generator)
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()


def _coder_sizes(model: Janus) -> tuple[object, object]:
    """Configs of the vision tower and of the image autoencoder."""
    generation = model.config.generation
    codec = generation.vae if isinstance(generation, FlowGenerationConfig) else generation.vq
    return model.config.understanding.vision, codec


def _train_tokenizer(data: TrainingData) -> Tokenizer:
    """Trains byte-level BPE, which can encode any text and has a token for every word of the data.

    The default system prompt is a single token as well, to keep sequences short.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCAB_SIZE,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random("words")
    tasks = (data.understanding, data.text, data.generation)
    samples = (task(rng) for _ in range(4000) for task in tasks)
    texts = (
        sample.caption or "\n\n".join(f" {part}" for turn in sample.turns for part in turn)
        for sample in samples
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(DEFAULT_SYSTEM_PROMPT, normalized=False)])
    return tokenizer
