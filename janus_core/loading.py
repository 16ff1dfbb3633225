"""Composition root: loads a checkpoint folder as a pipeline, and saves a pipeline as one."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from .arguments import checked_path
from .checkpoints.adapters import Adapter, AdapterChoice, merged_changes, read_adapters
from .checkpoints.fill import OnProgress
from .checkpoints.load import load_weights
from .checkpoints.metadata import detect_edit_form, detect_roles, detect_thinking_form, read_chat_template
from .checkpoints.precision import Precision
from .checkpoints.save import MAX_SHARD_BYTES, create_folder, save_model
from .checkpoints.sources import find_checkpoint
from .file_io import read_json_if_present
from .models.janus import GENERATION_CLASSES
from .models.quantized.registry import check_savable
from .pipeline.pipeline import JanusPipeline
from .pipeline.rows import most_rows
from .pipeline.runtime import AppliedAdapter
from .processing.chat import chat_format
from .processing.image_settings import check_num_image_tokens, image_settings, read_image_processor
from .processing.known_images import read_known_images, write_known_images
from .processing.prompts import PromptBuilder
from .processing.thinking_forms import added_tokens
from .processing.thinking_prompts import QUESTION_FILE
from .processing.tokenizer import read_tokenizer
from .sampling.image_sampler import IMAGE_SAMPLERS, ImageSampler
from .sampling.options import FlowSampling, TokenSampling

_log = logging.getLogger(__name__)

# The demonstration checkpoints of this package, small enough for any machine. They know only a world of
# shapes; the second one generates images by flow.
DEMONSTRATION = Path(__file__).with_name("assets") / "janus-shapes"
FLOW_DEMONSTRATION = DEMONSTRATION.with_name("janusflow-shapes")

# Files that a saved checkpoint takes over from the one it was loaded from.
_COPIED_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    QUESTION_FILE,
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
    adapters: Sequence[AdapterChoice] = (),
) -> JanusPipeline:
    """Loads a Janus, Janus-Pro or JanusFlow checkpoint.

    Args:
        path: a folder in the original layout (deepseek-ai and fine-tunes) or in that of transformers.
        device: where the model computes.
        dtype: of the weights. By name: bf16, fp16, fp32, int8, int4, or auto, which is int4 for a checkpoint
            saved in it, and otherwise 16 bits where the device is fast with them; on a CPU, named 16-bit
            weights are prepacked and activations are float32. Or a
            PyTorch dtype for both weights and activations. The image autoencoders stay in float32 where the
            rest is float16.
        template: chat template (deepseek, deepseek_old, plain or alignment); None for the checkpoint's own.
        roles: texts of user and assistant in the template; None for those of `template` or, without one,
            those that the checkpoint was trained with.
        on_progress: called with bytes read and bytes in total; raise to cancel.
        vae: VAE that decodes JanusFlow's latents: SDXL's, as a diffusers folder or a single file. None for
            the checkpoint's own `vae` folder or, without one, for latents only.
        weights_device: where the weights go, if a host moves them to `device` later; `device` by default.
        adapters: LoRA adapters to add to the weights, in any order: the folder that PEFT wrote, or a
            safetensors file, with its strength (1 as trained, 0 for no effect, negative for the opposite).

    Raises:
        FileNotFoundError: if a file is missing; it says which.
        ValueError: if an argument is wrong, or a file is broken or belongs to another model.
    """
    folder = checked_path("path", path)
    # Cheap checks first: the weights take long to read.
    checkpoint = find_checkpoint(folder, None if vae is None else checked_path("vae", vae))
    layout, config = checkpoint.layout, checkpoint.config
    processor = read_json_if_present(folder / "processor_config.json")
    edit_form, thinking_form = detect_edit_form(folder), detect_thinking_form(folder)
    default_options = _read_default_options(folder, GENERATION_CLASSES[type(config.generation)])

    roles_from = "the arguments"
    if roles is None and template is None:
        detected = detect_roles(folder, read_chat_template(folder) if layout.trusts_chat_template else None)
        if detected is None:
            _log.warning("unknown role texts for %s; set `template`", folder)
        roles, roles_from = (detected.texts, detected.source) if detected else (None, "")
    prompts = PromptBuilder(
        tokenizer=read_tokenizer(folder).with_tokens(added_tokens(thinking_form)),
        chat=chat_format(template or processor.get("sft_format", "deepseek"), roles),
        num_image_tokens=config.understanding.vision.num_positions,
        vocab_size=config.body.vocab_size,
        max_length=config.body.max_position_embeddings,
        start_embedding=config.understanding.start_embedding,
    )
    check_num_image_tokens(folder, config.understanding.vision.num_positions)
    image_processor = read_image_processor(folder, config.understanding.vision.image_size)
    known_images = read_known_images(folder)
    found = read_adapters(folder, adapters)

    model = load_weights(checkpoint, device, dtype, on_progress, weights_device, merged_changes(found))
    pipeline = JanusPipeline(
        model=model,
        prompts=prompts,
        image_processor=image_processor,
        device=torch.device(device),
        folder=folder,
        default_options=default_options,
        edit_form=edit_form,
        thinking_form=thinking_form,
        max_batch_size=most_rows(torch.device(device)),
        adapters=applied_adapters(found),
        roles_from=roles_from,
        known_images=known_images,
    )
    chat = prompts.chat
    _log.info(
        "loaded %s in %s, template %s for %s", folder, pipeline.dtype, chat.name, chat.user or "no roles"
    )
    return pipeline


def image_sampler(path: str | Path) -> ImageSampler:
    """How a checkpoint generates images, without reading its weights."""
    config = find_checkpoint(checked_path("path", path), None).config
    return IMAGE_SAMPLERS[GENERATION_CLASSES[type(config.generation)]]


def applied_adapters(adapters: Sequence[Adapter]) -> tuple[AppliedAdapter, ...]:
    """Summarizes adapters for `Runtime.adapters`; those of strength 0 are omitted."""
    return tuple(
        AppliedAdapter(
            adapter.path.name,
            adapter.digest,
            adapter.strength,
            changes_vision=any(name.startswith("understanding.") for name in adapter.changes),
        )
        for adapter in adapters
        if adapter.changes
    )


def _read_default_options(folder: Path, generation_class: type) -> TokenSampling | FlowSampling:
    """Reads the checkpoint's own sampling options, an entry of `processor_config.json` of this package."""
    file = folder / "processor_config.json"
    entry = read_json_if_present(file).get("image_sampling", {})
    try:
        return IMAGE_SAMPLERS[generation_class].own_options(entry)
    except ValueError as error:
        raise ValueError(
            f"image_sampling in {file} must hold sampling options by name, got {entry!r}: {error}; fix or "
            "remove the entry"
        ) from error


def save_checkpoint(
    pipeline: JanusPipeline, path: str | Path, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Writes a pipeline as a checkpoint folder in the original layout, weights in safetensors.

    A model in int4 is saved as it is, and loads faster than when it is quantized; only this package reads it.

    Args:
        pipeline: what to save; the tokenizer's files are copied from its folder.
        path: a new folder.
        max_shard_bytes: a larger model is split into several files with an index.

    Raises:
        FileExistsError: if the folder already holds a model.
        ValueError: if `path` is no path, or the model's weights are packed or quantized, other than in int4.
    """
    folder = checked_path("path", path)
    check_savable(pipeline.model)
    create_folder(folder)
    for name in _COPIED_FILES:
        if (pipeline.folder / name).is_file():
            shutil.copyfile(pipeline.folder / name, folder / name)
    if pipeline.known_images is not None and not pipeline.adapters:  # an adapter may have taught it more
        write_known_images(pipeline.known_images, folder)
    settings = image_settings(pipeline.image_processor)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    processor = read_json_if_present(pipeline.folder / "processor_config.json")
    processor.pop("image_processor", None)  # where the layout of transformers keeps the same settings
    # Written explicitly, because the new folder's name may not show what the checkpoint was trained with.
    chat = pipeline.prompts.chat
    processor |= {"sft_format": chat.name, "roles": [chat.user, chat.assistant]}
    for name, form in (("edit_form", pipeline.edit_form), ("thinking_form", pipeline.thinking_form)):
        if form is not None:
            processor[name] = form
    if stated := IMAGE_SAMPLERS[type(pipeline.model.generation)].stated(pipeline.default_options):
        processor["image_sampling"] = stated
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    # The model last, so that an interrupted save is never mistaken for a complete checkpoint.
    save_model(pipeline.model, folder, max_shard_bytes)
