"""Validates names and shapes of a checkpoint against the model before loading."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch

from ..arguments import listed
from ..config import FlowGenerationConfig, JanusConfig
from ..file_io import read_json_if_present
from .contents import Contents
from .files import find_weight_files
from .foreign import refuse_foreign
from .keymap import KeyMap, ParameterSlice, Shape
from .layouts import Layout, detect_layout
from .layouts.sections import describe_sizes
from .layouts.vae import VAE_PREFIX, detect_vae
from .naming import is_harmless, without_prefixes
from .reading import TensorInfo, read_infos

_log = logging.getLogger(__name__)

LM_HEAD = "body.lm_head.weight"

# What this package adds to config.json when it saves quantized weights: their precision.
QUANTIZED_ENTRY = "janus_weights"
SAVED_QUANTIZED = ("int4",)

NOT_QUANTIZED: Mapping[str, torch.dtype] = MappingProxyType({})


@dataclass(frozen=True)
class Source:
    """Tensors that fill the VAE, or everything else."""

    path: Path  # checkpoint folder or VAE, for error messages
    key_map: KeyMap
    infos: dict[str, TensorInfo]  # by name, grouped by file
    is_vae: bool


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is complete and of a known layout; its weights are not read yet."""

    layout: Layout
    config: JanusConfig
    sources: tuple[Source, ...]
    quantized: str | None = None  # the precision in which quantized weights were saved


def find_checkpoint(folder: Path, vae: Path | None) -> Checkpoint:
    """Finds a model's config and tensors: in a checkpoint folder and, for JanusFlow, in a VAE."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"checkpoint must be a folder, got {folder}, which does not exist; check the name"
        )
    contents = Contents(folder)
    refuse_foreign(contents)
    find_weight_files(folder)
    layout, config = detect_layout(folder)
    sources = [Source(folder, layout.key_map, contents.infos, is_vae=False)]
    if not layout.takes_vae:
        if vae is not None:
            raise ValueError(f"vae must be None for {folder}, which needs none, got {vae}; leave it out")
        return Checkpoint(layout, config, tuple(sources), saved_precision(folder))
    if vae is None and (folder / "vae").is_dir():
        vae = folder / "vae"
    if vae is not None:  # without one, the model still generates latents
        key_map, vae_config, file = detect_vae(vae)
        assert isinstance(config.generation, FlowGenerationConfig)  # only its layout takes a VAE
        config = replace(config, generation=replace(config.generation, vae=vae_config))
        sources.append(Source(vae, key_map, read_infos(file), is_vae=True))
    return Checkpoint(layout, config, tuple(sources), saved_precision(folder))


def saved_precision(folder: Path) -> str | None:
    """The precision in which a folder's weights were saved quantized; None if they are not."""
    found = read_json_if_present(folder / "config.json").get(QUANTIZED_ENTRY)
    if found is None or found in SAVED_QUANTIZED:
        return found
    raise ValueError(
        f"{QUANTIZED_ENTRY} in {folder / 'config.json'} must be {' or '.join(SAVED_QUANTIZED)}, "
        f"got {found!r}; use a newer version of this package, or the checkpoint that this one was saved from"
    )


def match_tensors(
    checkpoint: Checkpoint, shapes: dict[str, Shape], quantized: Mapping[str, torch.dtype] = NOT_QUANTIZED
) -> list[tuple[TensorInfo, ParameterSlice]]:
    """Matches each tensor of a checkpoint with the part of the model that it fills, in file order.

    `quantized` are the dtypes of the parameters of quantized layers.

    Refuses tensors that are missing, unknown, of another shape, or quantized: the pairs fill every parameter
    in `shapes`, except the output embedding of a checkpoint that ties it to the input embedding.
    """
    pairs: list[tuple[TensorInfo, ParameterSlice]] = []
    for source in checkpoint.sources:
        # A VAE fills its own parameters, a checkpoint folder all others.
        parameters = {
            name: shape for name, shape in shapes.items() if name.startswith(VAE_PREFIX) is source.is_vae
        }
        # What the source should contain, by its own names: no name missing, none unknown.
        expected = source.key_map.expected_tensors(checkpoint.config, parameters)
        tied = checkpoint.config.body.tie_word_embeddings
        required = [name for name, part in expected.items() if not (tied and part.parameter == LM_HEAD)]
        infos = without_prefixes(source.path, source.infos, required)
        _check_names(source, infos, expected, required)
        # Pair the tensors in file order; those that the layout drops are skipped.
        for name, info in infos.items():
            if name in expected:
                _check_tensor(source, info, expected[name], quantized.get(expected[name].parameter))
                pairs.append((info, expected[name]))
    return pairs


def _check_names(
    source: Source, infos: Collection[str], expected: Collection[str], required: Collection[str]
) -> None:
    """Refuses missing and unknown names, and logs those that are ignored."""
    missing = [name for name in required if name not in infos]
    left_over = [name for name in infos if name not in expected and not source.key_map.drops(name)]
    unknown = [name for name in left_over if not is_harmless(name)]
    if missing or unknown:
        found = "; ".join(
            f"{len(names)} {kind}: {listed(sorted(names), 5)}"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        )
        raise ValueError(
            f"the weights in {source.path} must be those that its config.json describes "
            f"({source.key_map.name} layout), got {found}; use config.json and weights of the same "
            f"checkpoint{_sizes(source, missing + unknown)}"
        )
    if left_over:
        _log.warning(
            "%s: left out, the model does not use them: %s", source.path, listed(sorted(left_over), 5)
        )


def _sizes(source: Source, names: list[str]) -> str:
    """Returns the sizes of some tensors by config.json, for an error; empty for a VAE in a single file."""
    content = read_json_if_present(source.path / "config.json")
    return describe_sizes(content, source.key_map.sections_of(names)) if content else ""


def _check_tensor(source: Source, info: TensorInfo, part: ParameterSlice, dtype: torch.dtype | None) -> None:
    if info.shape != part.source_shape:
        raise ValueError(
            f"{info.name} in {info.file} must have shape {list(part.source_shape)} by config.json, got "
            f"{list(info.shape)}; use config.json and weights of the same checkpoint"
            f"{_sizes(source, [info.name])}"
        )
    if not (info.dtype.is_floating_point if dtype is None else info.dtype is dtype):
        wanted = "floating-point numbers" if dtype is None else str(dtype)
        raise ValueError(
            f"{info.name} in {info.file} must contain {wanted}, got another dtype; use the checkpoint "
            "that was not quantized"
        )
