"""Layouts of the VAE that completes JanusFlow: a diffusers folder, or one file with training-code names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ...config import VAEConfig
from ...config.checks import require
from ...file_io import read_json
from ..keymap import KeyMap, Rule, rename
from ..reading import TensorInfo, read_infos
from .sections import Fixed, Followed, Json, Section
from .shared import read_fields

# Prefix of the VAE's parameters in the model.
VAE_PREFIX = "generation.vae."

_STEM = "diffusion_pytorch_model"
DIFFUSERS_WEIGHTS = f"{_STEM}.safetensors"
_WEIGHT_FILES = (DIFFUSERS_WEIGHTS, f"{_STEM}.fp16.safetensors", f"{_STEM}.bin")
# Prefix of the VAE's tensors in a whole SDXL checkpoint.
_CHECKPOINT_PREFIX = "first_stage_model."
# Single files have no config; this is the number of groups that all known VAEs use.
_NUM_GROUPS = 32

# The config.json of a diffusers folder, with the defaults of its AutoencoderKL.
DIFFUSERS = Section(
    "",
    {
        "block_out_channels": Followed(tuple[int, ...], (64,)),
        "layers_per_block": Followed(int, 1),
        "latent_channels": Followed(int, 4),
        "norm_num_groups": Followed(int, 32),
        "scaling_factor": Followed(float, 0.18215),
        "_class_name": Fixed("AutoencoderKL"),
        "act_fn": Fixed("silu", "swish"),
        "in_channels": Fixed(3),
        "out_channels": Fixed(3),
        "mid_block_add_attention": Fixed(True),
        "use_quant_conv": Fixed(True),
        "use_post_quant_conv": Fixed(True),
        # Other formulas from latents to those of the flow.
        "shift_factor": Fixed(None, 0),
        "latents_mean": Fixed(None),
        "latents_std": Fixed(None),
    },
)
_BLOCKS = {"down": "DownEncoderBlock2D", "up": "UpDecoderBlock2D"}  # of each level

_USE_SDXL = "use the VAE of SDXL, as a diffusers folder or as one file"


def detect_vae(path: Path) -> tuple[KeyMap, VAEConfig, Path]:
    """Recognizes a VAE; returns its key map, config and weights file.

    The path is a diffusers folder, or a single file with the names of the training code, as in ComfyUI's
    `models/vae` or in a whole SDXL checkpoint.
    """
    if path.is_dir():
        return _detect_diffusers(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"vae must be a file or a folder, got {path}, which does not exist; {_USE_SDXL}"
        )
    infos = read_infos(path)
    prefix = _CHECKPOINT_PREFIX if any(name.startswith(_CHECKPOINT_PREFIX) for name in infos) else ""
    try:
        config = _config_from_shapes(infos, prefix)
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path} must hold a VAE's weights, got none named {error}; {_USE_SDXL}") from error
    return single_file_key_map(len(config.block_out_channels), prefix), config, path


def _detect_diffusers(path: Path) -> tuple[KeyMap, VAEConfig, Path]:
    content = read_json(path / "config.json")
    try:
        config = read_diffusers_config(content)
    except ValueError as error:
        raise ValueError(f"{path / 'config.json'}: {error}; {_USE_SDXL}") from error
    file = next((path / name for name in _WEIGHT_FILES if (path / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"{path} must hold one of {', '.join(_WEIGHT_FILES)}, got none; download it again"
        )
    old_names = "decoder.mid_block.attentions.0.query.weight" in read_infos(file)
    return diffusers_key_map(old_names), config, file


def read_diffusers_config(content: Json) -> VAEConfig:
    """Reads the content of a diffusers config.json; refuses what cannot be followed, by its name."""
    values = DIFFUSERS.read(content)
    for direction in ("down", "up"):
        key = f"{direction}_block_types"
        blocks = [_BLOCKS[direction]] * len(values["block_out_channels"])
        found = content.get(key, blocks)
        require(found == blocks, f"{key} must be {_BLOCKS[direction]!r} for each width, got {found}")
    return read_fields(VAEConfig, values)


def _config_from_shapes(infos: dict[str, TensorInfo], prefix: str) -> VAEConfig:
    """Infers the config of a single-file VAE from the shapes of its tensors."""
    num_levels = _count_indices(rf"{re.escape(prefix)}encoder\.down\.(\d+)\.block", infos)
    widths = tuple(
        infos[f"{prefix}encoder.down.{level}.block.0.conv1.weight"].shape[0]
        for level in range(max(num_levels, 1))  # at least one, so that another file fails by a missing name
    )
    return VAEConfig(
        block_out_channels=widths,
        layers_per_block=_count_indices(rf"{re.escape(prefix)}encoder\.down\.0\.block\.(\d+)\.", infos),
        latent_channels=infos[f"{prefix}decoder.conv_in.weight"].shape[1],
        norm_num_groups=math.gcd(_NUM_GROUPS, *widths),
    )


def _count_indices(pattern: str, names: Iterable[str]) -> int:
    """Counts the different numbers that the pattern's group matches."""
    found = (re.match(pattern, name) for name in names)
    return len({match.group(1) for match in found if match})


def write_diffusers_config(config: VAEConfig) -> Json:
    """Returns the content of a diffusers config.json for a VAE."""
    num_levels = len(config.block_out_channels)
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "down_block_types": [_BLOCKS["down"]] * num_levels,
        "force_upcast": True,
        "in_channels": 3,
        "out_channels": 3,
        "sample_size": 1024,
        "up_block_types": [_BLOCKS["up"]] * num_levels,
        **asdict(config),
    }


def diffusers_key_map(old_names: bool = False) -> KeyMap:
    """Names that diffusers gives a VAE, or gave the attention layers before version 0.15."""
    if old_names:
        projections = (("query", "q"), ("key", "k"), ("value", "v"), ("proj_attn", "proj_out"))
    else:
        projections = (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"))
    rules: list[Rule] = []
    for half, direction in (("encoder", "down"), ("decoder", "up")):
        ours = f"{VAE_PREFIX}{half}"
        blocks, attention = f"{half}.{direction}_blocks.#", f"{half}.mid_block.attentions.0"
        # diffusers projects with linear layers, the model with 1x1 convolutions.
        rules += [
            Rule((f"{attention}.{source}.weight",), f"{ours}.mid.1.{target}.weight", trailing_ones=2)
            for source, target in projections
        ]
        rules += rename(
            *((f"{attention}.{source}.*", f"{ours}.mid.1.{target}.*") for source, target in projections),
            (f"{attention}.group_norm.*", f"{ours}.mid.1.norm.*"),
            (f"{blocks}.resnets.#.conv_shortcut.*", f"{ours}.conv_blocks.#.res.#.nin_shortcut.*"),
            (f"{blocks}.resnets.#.*", f"{ours}.conv_blocks.#.res.#.*"),
            (f"{blocks}.{direction}samplers.0.*", f"{ours}.conv_blocks.#.resample.*"),
            (f"{half}.mid_block.resnets.0.*", f"{ours}.mid.0.*"),
            (f"{half}.mid_block.resnets.1.*", f"{ours}.mid.2.*"),
            (f"{half}.conv_norm_out.*", f"{ours}.norm_out.*"),
        )
    rules += rename(("*", f"{VAE_PREFIX}*"))
    return KeyMap("diffusers VAE (old names)" if old_names else "diffusers VAE", tuple(rules), {}, {})


def single_file_key_map(num_levels: int, prefix: str = "") -> KeyMap:
    """Names of the training code, in VAE files as they are and in whole SDXL checkpoints after a prefix."""
    rules: list[Rule] = []
    for half, direction in (("encoder", "down"), ("decoder", "up")):
        theirs, ours = f"{prefix}{half}", f"{VAE_PREFIX}{half}"
        for index in range(num_levels):
            # The decoder's levels are numbered from the highest resolution, the model's blocks in order.
            level = index if half == "encoder" else num_levels - 1 - index
            rules += rename(
                (f"{theirs}.{direction}.{level}.block.*", f"{ours}.conv_blocks.{index}.res.*"),
                (
                    f"{theirs}.{direction}.{level}.{direction}sample.*",
                    f"{ours}.conv_blocks.{index}.resample.*",
                ),
            )
        rules += rename(
            (f"{theirs}.mid.block_1.*", f"{ours}.mid.0.*"),
            (f"{theirs}.mid.attn_1.*", f"{ours}.mid.1.*"),
            (f"{theirs}.mid.block_2.*", f"{ours}.mid.2.*"),
        )
    rules += rename((f"{prefix}*", f"{VAE_PREFIX}*"))
    dropped = {"model_ema.*": "averages of the training", "loss.*": "the discriminator of the training"}
    if prefix:
        dropped = {"*": "other parts of the checkpoint"}
    return KeyMap("single-file VAE", tuple(rules), dropped, {})
