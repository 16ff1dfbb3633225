"""Pipelines of the released models' sizes whose weights are made up on the device."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from janus_core import (
    QUANTIZED_PRECISIONS,
    GeneratedImages,
    JanusPipeline,
    Precision,
    TokenSampling,
    load_pipeline,
)
from janus_core.checkpoints.layouts import ORIGINAL
from janus_core.checkpoints.precision import resolve_precision
from janus_core.config import JanusConfig
from janus_core.models.janus import Janus

from ..benchmarks.measure import TINY
from ..benchmarks.peer import CONFIGS, fill_parameter
from .resized import resized
from .session import Session

PROMPT = "A red fox in the snow, looking at the camera, soft light of a winter morning."
ONE, SEVEN = "Janus-Pro-1B", "Janus-Pro-7B"


def models(session: Session) -> tuple[str, ...]:
    """Those to measure; in a dry run, whose models have the same small sizes, only one."""
    return (ONE,) if session.is_dry else (ONE, SEVEN)


def precisions(session: Session) -> dict[str, Precision]:
    """The precisions to measure: 16 bits as the device is fast with them, and those that take less memory."""
    return {name: resolve_precision(name, session.device) for name in ("auto", *QUANTIZED_PRECISIONS)}


def made_pipeline(session: Session, name: str, precision: Precision) -> JanusPipeline:
    """A pipeline with the sizes of a released model; in a dry run, with those of the tiny checkpoint."""
    tiny = load_pipeline(TINY, dtype=torch.float32)
    config = tiny.model.config if session.is_dry else _released_config(name)
    with torch.device("meta"):
        model = Janus(config).eval().requires_grad_(False)
    _fill(model, precision, session.device)
    return resized(tiny, model, session.device)


def drawn_tokens(pipe: JanusPipeline, prompt: str, options: TokenSampling, **arguments: Any) -> torch.Tensor:
    """The tokens [B, N] of `generate`."""
    drawn = pipe.generate(prompt, options, **arguments)
    assert isinstance(drawn, GeneratedImages)  # the model draws tokens
    return drawn.tokens


def _released_config(name: str) -> JanusConfig:
    return ORIGINAL.read_config(json.loads((CONFIGS / f"{name}.config.json").read_text(encoding="utf-8")))


def _fill(model: Janus, precision: Precision, device: str) -> None:
    """Gives the layers of a model on `meta` weights in a precision, one after the other."""
    for path, kind in precision.replacing(model).items():
        parameters = dict(model.get_submodule(path).named_parameters())
        weight = _filled(f"{path}.weight", parameters["weight"], kind.staging_dtype, device)
        has_bias = "bias" in parameters
        bias = _filled(f"{path}.bias", parameters["bias"], torch.float32, device) if has_bias else None
        model.set_submodule(path, kind(weight, bias).requires_grad_(False))
    for name, parameter in list(model.named_parameters()):
        if parameter.is_meta:
            parent, _, leaf = name.rpartition(".")
            filled = _filled(name, parameter, precision.stored(name), device)
            setattr(model.get_submodule(parent), leaf, nn.Parameter(filled, requires_grad=False))


def _filled(name: str, like: torch.Tensor, dtype: torch.dtype, device: str) -> torch.Tensor:
    filled = torch.empty(like.shape, dtype=dtype, device=device)
    fill_parameter(name, filled)
    return filled
