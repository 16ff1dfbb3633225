"""Whether the tensors in files are those of the model that is to be filled, before any is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..config import FlowGenerationConfig, JanusConfig
from .detect import detect
from .files import TensorInfo, find_weight_files, read_infos
from .keymap import Layout, Place, is_dropped, places
from .keymaps_flow import VAE_PREFIX
from .vae import default_vae, detect_vae

LM_HEAD = "body.lm_head.weight"


@dataclass(frozen=True)
class Source:
    """Weights of a part of a model.

    Attributes:
        path: for error messages.
        layout: how its tensors are named.
        infos: its tensors by name.
        is_vae: whether it fills the VAE, or all the rest.
    """

    path: Path
    layout: Layout
    infos: dict[str, TensorInfo]
    is_vae: bool

    def places(self, config: JanusConfig, shapes: dict[str, tuple[int, ...]]) -> dict[str, Place]:
        """Where each of its tensors goes, names and shapes being those of the model."""
        targets = {
            name: shape for name, shape in shapes.items() if name.startswith(VAE_PREFIX) is self.is_vae
        }
        expected = places(self.layout, config, targets)
        if config.body.tie_word_embeddings:
            expected = {
                name: place
                for name, place in expected.items()
                if place.target != LM_HEAD or name in self.infos
            }
        _check_names(self.path, self.layout, expected, self.infos)
        _check_shapes(expected, self.infos, shapes)
        return expected


def find_sources(folder: Path, vae: Path | None) -> tuple[JanusConfig, list[Source]]:
    """What a model is filled from: a checkpoint folder, and a VAE where it draws with one.

    Raises:
        FileNotFoundError: if a file is missing; it says which.
        ValueError: if a file is broken or of another kind.
    """
    files = find_weight_files(folder)
    layout, config = detect(folder)
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
    sources = [Source(folder, layout, infos, is_vae=False)]
    if not layout.takes_vae:
        if vae is not None:
            raise ValueError(
                f"vae must be None for {folder}, which draws without one, got {vae}; leave it out"
            )
        return config, sources
    vae = vae or default_vae(folder)
    if vae is not None:
        vae_layout, vae_config, file = detect_vae(vae)
        assert isinstance(config.generation, FlowGenerationConfig)  # as such layouts' readers make it
        config = replace(config, generation=replace(config.generation, vae=vae_config))
        sources.append(Source(vae, vae_layout, read_infos(file), is_vae=True))
    return config, sources


def _check_names(
    folder: Path, layout: Layout, expected: dict[str, Place], infos: dict[str, TensorInfo]
) -> None:
    missing = [name for name in expected if name not in infos]
    unknown = [name for name in infos if name not in expected and not is_dropped(layout, name)]
    if missing or unknown:
        found = "; ".join(
            f"{len(names)} {kind}: {', '.join(sorted(names)[:5])}{' …' if len(names) > 5 else ''}"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        )
        raise ValueError(
            f"the weights in {folder} must be those that its config.json describes ({layout.name} layout), "
            f"got {found}; use config.json and weights of the same checkpoint"
        )


def _check_shapes(
    expected: dict[str, Place], infos: dict[str, TensorInfo], shapes: dict[str, tuple[int, ...]]
) -> None:
    for name, place in expected.items():
        wanted = place.source_shape(shapes[place.target])
        if infos[name].shape != wanted:
            raise ValueError(
                f"{name} in {infos[name].file} must have shape {list(wanted)} by config.json, got "
                f"{list(infos[name].shape)}; use config.json and weights of the same checkpoint"
            )
        if not infos[name].dtype.is_floating_point:
            raise ValueError(
                f"{name} in {infos[name].file} must hold floating-point numbers, got others; use the "
                "checkpoint that was not quantized"
            )
