"""Validates names and shapes of a checkpoint against the model before loading."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..config import FlowGenerationConfig, JanusConfig
from .files import find_weight_files
from .keymap import KeyMap, ParameterSlice, Shape
from .layouts import detect_layout
from .layouts.vae import VAE_PREFIX, detect_vae
from .reading import TensorInfo, read_infos

LM_HEAD = "body.lm_head.weight"


@dataclass(frozen=True)
class Source:
    """Tensors that fill the VAE, or everything else."""

    path: Path  # checkpoint folder or VAE, for error messages
    key_map: KeyMap
    infos: dict[str, TensorInfo]  # by name, grouped by file
    is_vae: bool


def find_sources(folder: Path, vae: Path | None) -> tuple[JanusConfig, list[Source]]:
    """Finds a model's config and tensors: in a checkpoint folder and, for JanusFlow, in a VAE."""
    files = find_weight_files(folder)
    layout, config = detect_layout(folder)
    infos: dict[str, TensorInfo] = {}
    for file in files:
        found = read_infos(file)
        twice = sorted(found.keys() & infos.keys())
        if twice:
            raise ValueError(
                f"{folder} must hold each tensor once, got {twice[0]} in {infos[twice[0]].file.name} and in "
                f"{file.name}; download the checkpoint again"
            )
        infos |= found
    sources = [Source(folder, layout.key_map, infos, is_vae=False)]
    if not layout.takes_vae:
        if vae is not None:
            raise ValueError(f"vae must be None for {folder}, which needs none, got {vae}; leave it out")
        return config, sources
    if vae is None and (folder / "vae").is_dir():
        vae = folder / "vae"
    if vae is not None:  # without one, the model still generates latents
        key_map, vae_config, file = detect_vae(vae)
        assert isinstance(config.generation, FlowGenerationConfig)  # only its layout takes a VAE
        config = replace(config, generation=replace(config.generation, vae=vae_config))
        sources.append(Source(vae, key_map, read_infos(file), is_vae=True))
    return config, sources


def match_tensors(
    config: JanusConfig, sources: list[Source], shapes: dict[str, Shape]
) -> list[tuple[TensorInfo, ParameterSlice]]:
    """Matches each tensor of the sources with the part of the model that it fills, in file order.

    Refuses tensors that are missing, unknown, of another shape, or quantized: the pairs fill every parameter
    in `shapes`, except the output embedding of a checkpoint that ties it to the input embedding.
    """
    pairs: list[tuple[TensorInfo, ParameterSlice]] = []
    for source in sources:
        # A VAE fills its own parameters, a checkpoint folder all others.
        parameters = {
            name: shape for name, shape in shapes.items() if name.startswith(VAE_PREFIX) is source.is_vae
        }
        # What the source should contain, by its own names: no name missing, none unknown.
        expected = source.key_map.expected_tensors(config, parameters)
        _check_names(source, expected, config.body.tie_word_embeddings)
        # Pair the tensors in file order; those that the layout drops are skipped.
        for name, info in source.infos.items():
            if name in expected:
                _check_tensor(info, expected[name])
                pairs.append((info, expected[name]))
    return pairs


def _check_names(source: Source, expected: dict[str, ParameterSlice], tied: bool) -> None:
    missing = [
        name
        for name, part in expected.items()
        if name not in source.infos and not (tied and part.parameter == LM_HEAD)
    ]
    unknown = [name for name in source.infos if name not in expected and not source.key_map.drops(name)]
    if missing or unknown:
        found = "; ".join(
            f"{len(names)} {kind}: {', '.join(sorted(names)[:5])}{' …' if len(names) > 5 else ''}"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        )
        raise ValueError(
            f"the weights in {source.path} must be those that its config.json describes "
            f"({source.key_map.name} layout), got {found}; use config.json and weights of the same checkpoint"
        )


def _check_tensor(info: TensorInfo, part: ParameterSlice) -> None:
    if info.shape != part.source_shape:
        raise ValueError(
            f"{info.name} in {info.file} must have shape {list(part.source_shape)} by config.json, got "
            f"{list(info.shape)}; use config.json and weights of the same checkpoint"
        )
    if not info.dtype.is_floating_point:
        raise ValueError(
            f"{info.name} in {info.file} must contain floating-point numbers, got another dtype; use the "
            "checkpoint that was not quantized"
        )
