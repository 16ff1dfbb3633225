"""Building a model and filling it from a checkpoint folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..config import JanusConfig
from ..models.janus import Janus
from .files import TensorInfo, read_tensors
from .keymap import Place
from .keymaps_flow import VAE_PREFIX
from .sources import LM_HEAD, Source, find_sources

Prepare = Callable[[Janus], object]
OnProgress = Callable[[int, int], None]

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# The activations of both image autoencoders exceed what fp16 can hold.
_NEVER_FP16 = ("generation.vq.", VAE_PREFIX)

_EMBEDDING = "body.embed_tokens.weight"


def check_weights(folder: Path) -> None:
    """Makes sure that a folder's weights are those that its config.json describes, without reading them.

    Raises:
        FileNotFoundError: as `load_model`.
        ValueError: as `load_model`.
    """
    config, sources = find_sources(folder, None)
    shapes = _shapes(_build(config))
    for source in sources:
        source.places(config, shapes)


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = "auto",
    prepare: Prepare | None = None,
    on_progress: OnProgress | None = None,
    vae: Path | None = None,
) -> Janus:
    """Reads a checkpoint of any supported layout.

    The model is built without memory, then each tensor is copied once into its place, so the peak is one copy
    of the weights and a small part of the file.

    Args:
        folder: holds config.json and weights.
        device: where the weights go.
        dtype: of the weights, or a name that `resolve_dtype` knows.
        prepare: called with the empty model before it is filled; may exchange classes of its layers.
        on_progress: called with bytes read and bytes in all.
        vae: of a model that draws latents: a diffusers folder or a single file; None for the folder's own
            `vae`, if there is one.

    Raises:
        FileNotFoundError: if a file is missing; it says which.
        ValueError: if a file is broken, or its tensors are not those of the model that config.json describes.
    """
    dtype = resolve_dtype(dtype, device)
    config, sources = find_sources(folder, vae)
    model = _build(config)
    if prepare is not None:
        prepare(model)
    shapes = _shapes(model)
    expected = [source.places(config, shapes) for source in sources]
    parameters = _fill(
        list(zip(sources, expected, strict=True)), shapes, torch.device(device), dtype, on_progress
    )
    tied = LM_HEAD not in parameters
    if tied:
        parameters[LM_HEAD] = parameters[_EMBEDDING]
    model.load_state_dict(parameters, assign=True)
    if tied:
        model.body.lm_head.weight = model.body.embed_tokens.weight
    return model.eval().requires_grad_(False)


def _build(config: JanusConfig) -> Janus:
    with torch.device("meta"), _NoInit():
        return Janus(config)


def _shapes(model: Janus) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


class _NoInit(TorchFunctionMode):
    """Leaves parameters as they are made.

    Filling tensors without memory is of no use, and loads 80 MB of torch's compiler for its random numbers.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def resolve_dtype(dtype: torch.dtype | str, device: torch.device | str) -> torch.dtype:
    """The dtype of a name in `PRECISIONS`; auto is bfloat16 where the device multiplies in it, else float32.

    Raises:
        ValueError: if there is no such name.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return torch.bfloat16 if _multiplies_bf16(torch.device(device).type) else torch.float32
    if dtype not in PRECISIONS:
        raise ValueError(
            f"dtype must be auto, {', '.join(PRECISIONS)} or PyTorch's own, got {dtype!r}; use one"
        )
    return PRECISIONS[dtype]


def _multiplies_bf16(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return True


def _fill(
    plans: list[tuple[Source, dict[str, Place]]],
    shapes: dict[str, tuple[int, ...]],
    device: torch.device,
    dtype: torch.dtype,
    on_progress: OnProgress | None,
) -> dict[str, Tensor]:
    parameters: dict[str, Tensor] = {}
    wanted: dict[Path, dict[str, tuple[TensorInfo, Place]]] = {}
    for source, expected in plans:
        for name, info in source.infos.items():
            if name in expected:
                wanted.setdefault(info.file, {})[name] = (info, expected[name])
    done, total = 0, sum(info.num_bytes for tensors in wanted.values() for info, _ in tensors.values())
    for file, tensors in wanted.items():
        for name, start, part in read_tensors(file, {name: info for name, (info, _) in tensors.items()}):
            place = tensors[name][1]
            if place.target not in parameters:
                never = dtype is torch.float16 and place.target.startswith(_NEVER_FP16)
                kept = torch.float32 if never else dtype
                parameters[place.target] = torch.empty(shapes[place.target], dtype=kept, device=device)
            rows = part[0] if place.leading_one else part
            filled = parameters[place.target].narrow(0, place.start + start, len(rows))
            filled.copy_(rows.reshape(filled.shape))
            _check_finite(file, name, filled)
            done += part.nbytes
            # These would keep the file's last mapping alive beside the next one.
            del part, rows
            if on_progress is not None:
                on_progress(done, total)
    return parameters


def _check_finite(file: Path, name: str, weights: Tensor) -> None:
    # The extremes are NaN or infinite as soon as one number is, and take no copy as `isfinite` of all would.
    if not bool(torch.isfinite(weights.amin()) & torch.isfinite(weights.amax())):
        raise ValueError(
            f"{file} must hold finite weights, got NaN or infinity in {name} (as {weights.dtype}); "
            "download it again, or load it in fp32 if it was saved in a wider type"
        )
