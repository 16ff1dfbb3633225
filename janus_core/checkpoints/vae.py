"""Finding a VAE: which files, which names, which sizes."""

from __future__ import annotations

import math
import re
from pathlib import Path

from ..config import VAEConfig
from ..file_io import read_json
from .configs_flow import from_diffusers
from .files import TensorInfo, read_infos
from .keymap import Layout
from .keymaps_flow import OLD_DIFFUSERS_ATTENTION, diffusers_vae, single_file_vae

# What a VAE's weights are called in a folder of its own, the first that is there counting.
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_WEIGHTS = (
    DIFFUSERS_WEIGHTS,
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)
_PREFIX = "first_stage_model."
# The usual number of groups, which a single file does not tell.
_NUM_GROUPS = 32

_USE_SDXL = "use the VAE of SDXL, as a diffusers folder or as one file"


def default_vae(folder: Path) -> Path | None:
    """The VAE in a checkpoint's own folder, if there is one."""
    return folder / "vae" if (folder / "vae").is_dir() else None


def detect_vae(path: Path) -> tuple[Layout, VAEConfig, Path]:
    """Layout, sizes and weights file of a VAE.

    Args:
        path: a folder as diffusers writes it, or one file with the names of the training code (as in
            ComfyUI's `models/vae`, or a whole SDXL checkpoint).

    Raises:
        FileNotFoundError: if there is no such VAE.
        ValueError: if it is something else.
    """
    if path.is_dir():
        return _detect_folder(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"vae must be a file or a folder, got {path}, which does not exist; {_USE_SDXL}"
        )
    infos = read_infos(path)
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in infos) else ""
    try:
        config = _sizes(infos, prefix)
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path} must hold a VAE's weights, got none named {error}; {_USE_SDXL}") from error
    return single_file_vae(len(config.block_out_channels), prefix), config, path


def _detect_folder(path: Path) -> tuple[Layout, VAEConfig, Path]:
    content = read_json(path / "config.json")
    try:
        config = from_diffusers(content)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path / 'config.json'} must describe a VAE, got an entry that is missing or of the wrong kind: "
            f"{error}; {_USE_SDXL}"
        ) from error
    file = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{path} must hold one of {', '.join(_WEIGHTS)}, got none; download it again")
    if "decoder.mid_block.attentions.0.query.weight" in read_infos(file):
        return diffusers_vae("diffusers VAE (old names)", OLD_DIFFUSERS_ATTENTION), config, file
    return diffusers_vae("diffusers VAE"), config, file


def _sizes(infos: dict[str, TensorInfo], prefix: str) -> VAEConfig:
    """Reads a VAE's sizes from the shapes of its tensors."""

    def numbers(pattern: str) -> int:
        """How many different numbers stand at the pattern's group."""
        matches = (re.match(re.escape(prefix) + pattern, name) for name in infos)
        return len({match.group(1) for match in matches if match})

    widths = tuple(
        infos[f"{prefix}encoder.down.{level}.block.0.conv1.weight"].shape[0]
        for level in range(max(numbers(r"encoder\.down\.(\d+)\.block"), 1))
    )
    return VAEConfig(
        block_out_channels=widths,
        layers_per_block=numbers(r"encoder\.down\.0\.block\.(\d+)\."),
        latent_channels=infos[f"{prefix}decoder.conv_in.weight"].shape[1],
        norm_num_groups=math.gcd(_NUM_GROUPS, *widths),
    )
