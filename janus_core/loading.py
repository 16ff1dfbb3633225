"""The composition root: a checkpoint folder to a pipeline, and back."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import fields
from pathlib import Path

import torch

from .checkpoints.detect import detect, detect_edit_form, detect_roles
from .checkpoints.files import find_weight_files
from .checkpoints.fill import OnProgress
from .checkpoints.load import load_model
from .checkpoints.precision import Precision
from .checkpoints.save import MAX_SHARD_BYTES, make_free_folder, save_model
from .file_io import read_json_if_present
from .models.cpu.registry import check_not_quantized
from .models.janus import GENERATION_CLASSES
from .pipeline.pipeline import JanusPipeline
from .processing.chat import chat_format
from .processing.images import read_image_processor
from .processing.prompts import PromptBuilder
from .processing.tokenizer import read_tokenizer
from .sampling.image_sampler import IMAGE_SAMPLERS
from .sampling.options import FlowSampling, TokenSampling

_log = logging.getLogger(__name__)

# The checkpoint that comes with this package, small enough for any machine. It knows a drawn world only.
DEMONSTRATION = Path(__file__).with_name("assets") / "janus-shapes"

# What stands beside the weights in a checkpoint folder.
_COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
)


def load_pipeline(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: Precision | torch.dtype | str = "auto",
    *,
    template: str | None = None,
    roles: tuple[str, str] | None = None,
    on_progress: OnProgress | None = None,
    vae: str | Path | None = None,
    weights_device: torch.device | str | None = None,
) -> JanusPipeline:
    """Loads a Janus, Janus-Pro or JanusFlow checkpoint.

    Args:
        path: a folder in the original layout (deepseek-ai and fine-tunes) or in that of transformers.
        device: where the model computes.
        dtype: of the weights: bf16, fp16, fp32, int8, or auto, 2 bytes per weight where the device is fast
            so. On a CPU these weights are put in the order of its kernels, and activations are float32.
            PyTorch's own dtypes are taken as they are, for weights and activations. What turns pixels into
            tokens or latents stays in float32 where the rest is float16.
        template: chat template (deepseek, deepseek_old, plain or alignment); None for the checkpoint's own.
        roles: texts of user and assistant in the template; None for the given template's own or, without one,
            for what the checkpoint was trained with.
        on_progress: called with bytes read and bytes in all.
        vae: turns the latents of a model that draws by a flow into pixels: SDXL's, as a diffusers folder or
            one file. None for the checkpoint's own `vae` folder; without one, images are latents only.
        weights_device: where the weights go, if a host brings them to `device` later; `device` by default.

    Raises:
        FileNotFoundError: if a file is missing; it says which.
        ValueError: if a file is broken or belongs to another model.
    """
    folder = Path(path)
    # What is quick to find wrong comes before what takes long to read.
    find_weight_files(folder)
    layout, config = detect(folder)
    processor = read_json_if_present(folder / "processor_config.json")
    if roles is None and template is None:
        roles = detect_roles(folder, _jinja_template(folder) if layout.says_roles else None)
        if roles is None:
            _log.warning(
                "nothing tells which role texts %s was trained with; set template if not these", folder
            )
    chat = chat_format(template or processor.get("sft_format", "deepseek"), roles)
    prompts = PromptBuilder(
        read_tokenizer(folder),
        chat,
        config.understanding.vision.num_positions,
        config.body.vocab_size,
        config.body.max_position_embeddings,
        config.understanding.start_embedding,
    )
    edit_form = detect_edit_form(folder)
    default_options = _read_default_options(folder, GENERATION_CLASSES[type(config.generation)])
    image_processor = read_image_processor(folder, config.understanding.vision.image_size)
    vae = None if vae is None else Path(vae)
    model = load_model(folder, device, dtype, on_progress, vae, weights_device)
    pipeline = JanusPipeline(
        model, prompts, image_processor, torch.device(device), folder, default_options, edit_form
    )
    _log.info(
        "loaded %s in %s, template %s for %s", folder, pipeline.dtype, chat.name, chat.user or "no roles"
    )
    return pipeline


def save_checkpoint(
    pipeline: JanusPipeline, path: str | Path, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Writes a pipeline as a checkpoint folder in the original layout, weights in safetensors.

    Args:
        pipeline: what to save; its folder's tokenizer and processor files go along.
        path: a new folder.
        max_shard_bytes: a larger model is split, with an index.

    Raises:
        FileExistsError: if the folder already holds a model.
        ValueError: if the pipeline was loaded with narrow weights.
    """
    check_not_quantized(pipeline.model)
    folder = Path(path)
    make_free_folder(folder)
    for name in _COMPANIONS:
        if (pipeline.folder / name).is_file():
            shutil.copyfile(pipeline.folder / name, folder / name)
    # Written down, because a new folder's name may not tell what the checkpoint was trained with.
    chat = pipeline.prompts.chat
    processor = read_json_if_present(pipeline.folder / "processor_config.json")
    processor |= {"sft_format": chat.name, "roles": [chat.user, chat.assistant]}
    if pipeline.edit_form is not None:
        processor["edit_form"] = pipeline.edit_form
    options = pipeline.default_options
    own = {f.name: getattr(options, f.name) for f in fields(options) if getattr(options, f.name) != f.default}
    if own:
        processor["image_sampling"] = own
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    # The model last, and its config.json behind its weights: a broken-off folder is never taken for whole.
    save_model(pipeline.model, folder, max_shard_bytes)


def _read_default_options(folder: Path, generation_class: type) -> TokenSampling | FlowSampling:
    """The sampling options in `processor_config.json`, an entry that only this package writes."""
    file = folder / "processor_config.json"
    entry = read_json_if_present(file).get("image_sampling", {})
    try:
        return IMAGE_SAMPLERS[generation_class].options(**entry)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"image_sampling in {file} must hold sampling options by name, got {entry!r}: {error}; fix or "
            "remove the entry"
        ) from error


def _jinja_template(folder: Path) -> str | None:
    """The chat template that transformers' conversions carry, in whichever of its files."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        template = read_json_if_present(folder / name).get("chat_template")
        if isinstance(template, str):
            return template
    return None
