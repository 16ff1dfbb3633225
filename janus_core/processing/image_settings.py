"""Reads and writes a checkpoint's image preprocessing settings, in either of the two files that hold them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..file_io import read_json_if_present
from .images import ImageProcessor

_log = logging.getLogger(__name__)

PREPROCESSOR, PROCESSOR, NESTED = "preprocessor_config.json", "processor_config.json", "image_processor"

# The classes of the reference and of transformers that prepare images as `ImageProcessor` does.
CLASSES = ("VLMImageProcessor", "JanusImageProcessor", "JanusImageProcessorFast", "JanusImageProcessorPil")

# Defaults of the reference and transformers for entries that a file omits: the normalisation of CLIP.
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Entries that `ImageProcessor` follows, and entries that do not affect pixels: `crop_size` is that of
# `do_center_crop`, which is refused, and sizes are always square.
_FOLLOWED = frozenset({"do_normalize", "do_rescale", "image_mean", "image_std", "min_size", "rescale_factor"})
_WITHOUT_EFFECT = frozenset(
    {
        *("auto_map", "crop_size", "data_format", "default_to_square", "device", "disable_grouping"),
        *("feature_extractor_type", "input_data_format", "model_type", "processor_class", "return_tensors"),
        "transformers_version",
    }
)


def read_image_processor(folder: Path, image_size: int) -> ImageProcessor:
    """Reads a checkpoint's image settings; without any, SigLIP's normalisation is used.

    They are in `preprocessor_config.json` or, as transformers 5 saves them, under `image_processor` in
    `processor_config.json`, which takes precedence if both exist, as in transformers.

    Args:
        folder: the checkpoint.
        image_size: side of the images that the vision tower takes, in pixels.

    Raises:
        ValueError: if an entry is not valid, or asks for steps that are not supported.
    """
    place, settings = _find_settings(folder)
    if not settings:
        return ImageProcessor(image_size)
    for name in ("do_normalize", "do_rescale"):
        if not isinstance(settings.get(name, True), bool):
            raise ValueError(f"{name} in {place} must be true or false, got {settings[name]!r}; correct it")
    rescale_factor = settings.get("rescale_factor", ImageProcessor.rescale_factor)
    try:
        processor = ImageProcessor(
            image_size,
            _as_tuple(settings.get("image_mean", _CLIP_MEAN)),
            _as_tuple(settings.get("image_std", _CLIP_STD)),
            settings.get("min_size", ImageProcessor.min_size),
            rescale_factor if settings.get("do_rescale", True) else 1.0,
            settings.get("do_normalize", True),
        )
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    _check_fixed_entries(place, settings, processor)
    return processor


def check_num_image_tokens(folder: Path, num_positions: int) -> None:
    """Raises ValueError if `num_image_tokens` in `processor_config.json` differs from the vision tower's."""
    count = read_json_if_present(folder / PROCESSOR).get("num_image_tokens", num_positions)
    if count != num_positions:
        raise ValueError(
            f"num_image_tokens in {folder / PROCESSOR} must be {num_positions}, as the vision tower has by "
            f"image_size and patch_size in config.json, got {count!r}; correct or remove the entry"
        )


def image_settings(processor: ImageProcessor) -> dict[str, Any]:
    """The content of `preprocessor_config.json` in the original layout."""
    return {
        "background_color": list(processor.padding),
        "do_normalize": processor.do_normalize,
        "image_mean": list(processor.mean),
        "image_processor_type": CLASSES[0],
        "image_size": processor.image_size,
        "image_std": list(processor.std),
        "min_size": processor.min_size,
        "processor_class": "VLChatProcessor",
        "rescale_factor": processor.rescale_factor,
    }


def _find_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """Returns where the settings are, for error messages, and the entries that are not null."""
    nested = read_json_if_present(folder / PROCESSOR).get(NESTED)
    single = _without_nulls(read_json_if_present(folder / PREPROCESSOR))
    if nested is None:
        return str(folder / PREPROCESSOR), single
    place = f"{NESTED} of {folder / PROCESSOR}"
    if not isinstance(nested, dict):
        raise ValueError(f"{place} must be a JSON object, got {nested!r}; correct or remove it")
    nested = _without_nulls(nested)
    differing = sorted(key for key in nested.keys() & single.keys() if nested[key] != single[key])
    if differing:
        _log.warning("%s is used; %s differs in %s", place, PREPROCESSOR, ", ".join(differing))
    return place, nested


def _check_fixed_entries(place: str, settings: dict[str, Any], processor: ImageProcessor) -> None:
    """Raises ValueError if an entry asks for steps that `ImageProcessor` lacks; logs unknown entries."""
    side, padding = processor.image_size, list(processor.padding)
    square = ({"height": side, "width": side}, side)
    # The values that describe what `ImageProcessor` always does, the usual one first.
    fixed: dict[str, tuple[object, ...]] = {
        "background_color": (padding, *(padding[:1] if len(set(padding)) == 1 else ())),
        "do_center_crop": (False,),
        "do_convert_rgb": (True,),
        "do_pad": (True,),
        "do_resize": (True,),
        "image_processor_type": CLASSES,
        "image_size": (side,),
        "pad_size": square,
        "resample": (3,),  # Pillow's number of the bicubic filter
        "size": square,
    }
    for name, values in fixed.items():
        if name in settings and settings[name] not in values:
            raise ValueError(
                f"{name} in {place} must be {values[0]!r}, as images are always prepared, got "
                f"{settings[name]!r}; correct or remove the entry"
            )
    unknown = settings.keys() - fixed.keys() - _FOLLOWED - _WITHOUT_EFFECT
    if unknown:
        _log.warning("entries of %s are not known and ignored: %s", place, ", ".join(sorted(unknown)))


def _without_nulls(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _as_tuple(values: Any) -> Any:
    return tuple(values) if isinstance(values, list) else values
