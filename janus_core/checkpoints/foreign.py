"""Recognizes checkpoints that cannot be loaded, and advises what to use instead."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contents import Contents

Sign = Callable[[Contents], str | None]
"""Returns the file, entry or tensor that identifies a folder as being of a kind; None if there is none."""


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint that cannot be loaded.

    Attributes:
        name: what it is, for the error message.
        signs: any one of them identifies it.
        advice: how to fix it, for the error message.
    """

    name: str
    signs: tuple[Sign, ...]
    advice: str


def refuse_foreign(contents: Contents) -> None:
    """Raises ValueError if a folder is of a kind in `KINDS`; no weight is read."""
    for kind in KINDS:
        found = next((text for sign in kind.signs if (text := sign(contents)) is not None), None)
        if found is not None:
            raise ValueError(
                f"{contents.folder} must hold the weights of a complete, unquantized Janus model, got "
                f"{kind.name} ({found}); {kind.advice}"
            )


def _files(*patterns: str) -> Sign:
    """Files of these names."""

    def sign(contents: Contents) -> str | None:
        found = (file for pattern in patterns for file in sorted(contents.folder.glob(pattern)))
        return next((file.name for file in found), None)

    return sign


def _only_files(*patterns: str) -> Sign:
    """Files of these names in a folder without other weights."""
    files = _files(*patterns)
    return lambda contents: None if contents.weights else files(contents)


def _first_bytes(start: bytes) -> Sign:
    """A weight file that begins with these bytes, whatever its name."""

    def sign(contents: Contents) -> str | None:
        for file in contents.weights:
            with file.open("rb") as stream:
                if stream.read(len(start)) == start:
                    return file.name
        return None

    return sign


def _torch_script(contents: Contents) -> str | None:
    """A weight file that holds a program of TorchScript."""
    for file in contents.weights:
        if zipfile.is_zipfile(file):
            try:
                with zipfile.ZipFile(file) as archive:
                    names = archive.namelist()
            except (zipfile.BadZipFile, ValueError, NotImplementedError):
                continue  # damaged: reading it gives the error
            if any(name.endswith("/constants.pkl") for name in names):
                return file.name
    return None


def _config(*keys: str) -> Sign:
    """An entry of config.json."""

    def sign(contents: Contents) -> str | None:
        return next((f"{key} in config.json" for key in keys if contents.config.get(key)), None)

    return sign


def _quantized_by(*methods: str) -> Sign:
    """A `quantization_config` of one of these methods in config.json; without methods, of any."""

    def sign(contents: Contents) -> str | None:
        parts = (contents.config, *contents.config.values())
        for entry in (part.get("quantization_config") for part in parts if isinstance(part, dict)):
            method = _method(entry) if entry else None
            if method is not None and (not methods or method.startswith(methods)):
                return f"quantization_config {method!r} in config.json"
        return None

    return sign


def _method(quantization_config: Any) -> str:
    if not isinstance(quantization_config, dict):
        return str(quantization_config)
    # Early versions of bitsandbytes wrote no method.
    bits = any(key.startswith("load_in_") for key in quantization_config)
    return str(quantization_config.get("quant_method", "bitsandbytes" if bits else "of an unknown method"))


def _tensors(*parts: str) -> Sign:
    """Tensors whose names, between two dots, contain any of these texts."""

    def sign(contents: Contents) -> str | None:
        return next((name for name in contents.infos if any(part in f".{name}." for part in parts)), None)

    return sign


def _both(first: Sign, second: Sign) -> Sign:
    """What the first sign finds, if the second finds something too."""
    return lambda contents: first(contents) if second(contents) is not None else None


_UNQUANTIZED = (
    "use the checkpoint that it was made from, such as deepseek-ai/Janus-Pro-1B in bf16, and set precision "
    "to int8 or int4 if memory is short"
)
_NOT_JANUS = "use a Janus-1.3B, Janus-Pro or JanusFlow checkpoint, such as deepseek-ai/Janus-Pro-1B"
_ADAPTER = "an adapter without its base model"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.*")
_MERGE = (
    "load its base and apply it with Janus LoRA, in Python with "
    "load_pipeline(base, adapters=[(adapter, 1)]), or merge it into its base first, with PEFT's "
    "merge_and_unload, and save the merged model with its JSON files in a folder of its own, without adapter "
    "files"
)

# The first kind that matches is reported. Kinds known by their files come first, since that check is cheap.
KINDS = (
    Kind("a diffusers model", (_files("model_index.json"), _config("_diffusers_version")), _NOT_JANUS),
    Kind(_ADAPTER, (_only_files(*_ADAPTER_FILES),), _MERGE),
    Kind("a GGUF file", (_only_files("*.gguf", "*.GGUF"), _first_bytes(b"GGUF")), _UNQUANTIZED),
    Kind(
        "a Git LFS pointer instead of the weights",
        (_first_bytes(b"version https://git-lfs"),),
        "run `git lfs pull` in the folder, or download the file again",
    ),
    Kind(
        "a TorchScript program", (_torch_script,), "use the model's state_dict, in safetensors or as a pickle"
    ),
    Kind(
        "an export for another program",
        (_files("openvino_*.xml"), _only_files("*.onnx", "onnx/*.onnx", "*.mlpackage", "*.engine")),
        "use the checkpoint that it was made from, in safetensors or as pytorch_model.bin",
    ),
    Kind(
        "a distributed training state",
        (_only_files("zero_to_fp32.py", "*.distcp", "*/*.distcp", "*/*_optim_states.pt"),),
        "gather it first into one file: run zero_to_fp32.py (DeepSpeed) or accelerate merge-weights (FSDP)",
    ),
    Kind(
        _ADAPTER,
        (_tensors("lora_", ".base_layer.", ".modules_to_save.", ".hada_w1", ".lokr_w1", ".oft_"),),
        _MERGE,
    ),
    Kind(
        "full weights beside adapter files",
        # Neither the matrices of an adapter nor the other tensors saved with one have this name.
        (_both(_files(*_ADAPTER_FILES), _tensors(".q_proj.weight.")),),
        "if the adapter is merged into these weights already, remove its files (adapter_config.json and "
        "adapter_model.*); else move them to a folder of their own and apply the adapter with Janus LoRA",
    ),
    Kind(_ADAPTER, (_files(*_ADAPTER_FILES),), _MERGE),
    Kind(
        "weights quantized with bitsandbytes",
        (
            _quantized_by("bitsandbytes"),
            _tensors(".absmax.", ".quant_map.", ".quant_state.", ".nested_absmax.", ".SCB."),
        ),
        _UNQUANTIZED,
    ),
    Kind(
        "weights quantized by compressed-tensors",
        (_quantized_by("compressed-tensors"), _tensors(".weight_packed.", ".weight_zero_point.")),
        _UNQUANTIZED,
    ),
    Kind(
        "weights quantized by GPTQ or AWQ",
        (_quantized_by("gptq", "awq"), _tensors(".qweight.", ".qzeros.", ".g_idx.")),
        _UNQUANTIZED,
    ),
    Kind(
        "scaled fp8 weights",
        (
            _quantized_by("fp8", "fbgemm_fp8", "modelopt"),
            _tensors("scaled_fp8", ".scale_weight.", ".scale_input.", ".comfy_quant."),
            _tensors(".weight_scale", ".input_scale."),
        ),
        _UNQUANTIZED,
    ),
    Kind("weights quantized for MLX", (_config("quantization"), _tensors(".scales.")), _UNQUANTIZED),
    Kind("quantized weights", (_tensors("._data.", ".W_q.", ".qscale."),), _UNQUANTIZED),
    Kind(
        "quantized weights",
        (_quantized_by(),),
        f"{_UNQUANTIZED}; if its weights are not quantized, remove this entry",
    ),
    Kind(
        "the weights of a diffusion model",
        (
            _tensors(
                ".diffusion_model.",
                ".first_stage_model.",
                ".double_blocks.",
                ".cond_stage_model.",
                ".transformer_blocks.",
                ".down_blocks.",
            ),
        ),
        _NOT_JANUS,
    ),
    Kind(
        "the weights of another vision-language model",
        (_tensors(".multi_modal_projector.", ".mm_projector.", ".visual.", ".qformer."),),
        _NOT_JANUS,
    ),
)
