"""Settings for images from a checkpoint's files: transformers' own as judge, and each entry varied alone.

That they are in one file since transformers 5 is reported in huggingface/transformers #44623.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import load_pipeline, save_checkpoint
from janus_nodes.janus_core.processing.image_settings import (
    CLASSES,
    check_num_image_tokens,
    image_settings,
    read_image_processor,
)
from janus_nodes.janus_core.processing.images import GREY, ImageProcessor, to_pillow
from support.checkpoints import GOLDEN, copy_checkpoint, edit_json
from torch import Tensor
from transformers import AutoImageProcessor, JanusImageProcessor, JanusImageProcessorPil, JanusProcessor
from transformers import PreTrainedTokenizerFast as Tokenizer

SIDE = 64
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
SQUARE = {"height": SIDE, "width": SIDE}


def picture(height: int, width: int) -> Tensor:
    """Random bytes as an image [H, W, 3] in [0, 1]."""
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return torch.from_numpy(levels).float() / 255


def save_processor(folder: Path, **settings: Any) -> Path:
    """Saves a whole processor as transformers 5 does, which puts all settings into one file."""
    texts = {"image": "<image_placeholder>", "boi": "<begin_of_image>", "eoi": "<end_of_image>"}
    special = {f"{name}_token": text for name, text in texts.items()}
    tokenizer = Tokenizer.from_pretrained(GOLDEN / "janus-pro-tiny", extra_special_tokens=special)
    processor = JanusProcessor(JanusImageProcessor(size=SQUARE, **settings), tokenizer, num_image_tokens=16)
    processor.save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()
    return folder


def write_settings(folder: Path, entries: dict[str, Any], name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {"image_mean": MEAN},
        {"image_std": STD},
        {"image_mean": MEAN, "image_std": STD},
        {"min_size": 30},
        {"rescale_factor": 1 / 127.5},
        {"do_rescale": False},
        {"do_normalize": False},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(90, 90), (40, 80), (200, 10)])
def test_settings_in_their_new_home_give_the_pixels_of_transformers(
    tmp_path: Path, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    image = picture(*size)
    folder = save_processor(tmp_path, **settings)
    found = read_image_processor(folder, SIDE).pixel_values([image])
    # Sizes that transformers, which rounds, and the reference, which truncates, agree about.
    expected = JanusImageProcessorPil.from_pretrained(folder)(to_pillow(image, GREY), return_tensors="pt")
    scale = float(expected.pixel_values.abs().max())
    torch.testing.assert_close(found, expected.pixel_values.float(), rtol=0, atol=1e-6 * max(scale, 1.0))


def test_the_new_home_is_read_as_the_old_one(tmp_path: Path) -> None:
    settings = {"image_mean": list(MEAN), "image_std": list(STD), "min_size": 20, "rescale_factor": 0.01}
    expected = ImageProcessor(48, MEAN, STD, 20, 0.01)
    assert read_image_processor(write_settings(tmp_path, settings), 48) == expected
    (tmp_path / "preprocessor_config.json").unlink()
    write_settings(tmp_path, {"image_processor": settings}, "processor_config.json")
    assert read_image_processor(tmp_path, 48) == expected


def test_of_two_homes_the_new_one_is_used_as_in_transformers_and_the_difference_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_processor(tmp_path, image_mean=MEAN, image_std=STD)
    other = JanusImageProcessor(size=SQUARE, image_mean=(0.5, 0.5, 0.5), image_std=STD)
    other.save_pretrained(folder)
    judge = AutoImageProcessor.from_pretrained(folder)
    assert (tuple(judge.image_mean), tuple(judge.image_std)) == (MEAN, STD)
    assert read_image_processor(folder, SIDE) == ImageProcessor(SIDE, MEAN, STD)
    assert "preprocessor_config.json differs in background_color, image_mean" in caplog.text


def test_without_files_the_normalisation_is_that_of_siglip(tmp_path: Path) -> None:
    assert read_image_processor(tmp_path, 48) == ImageProcessor(48, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 14)


def test_entries_that_are_left_out_or_null_are_those_of_transformers(tmp_path: Path) -> None:
    write_settings(tmp_path, {"min_size": 20, "size": SQUARE})
    judge = JanusImageProcessorPil.from_pretrained(tmp_path)
    expected = ImageProcessor(SIDE, tuple(judge.image_mean), tuple(judge.image_std), 20)
    assert read_image_processor(tmp_path, SIDE) == expected
    write_settings(tmp_path, {"min_size": 20, "size": SQUARE, "image_mean": None, "rescale_factor": None})
    assert read_image_processor(tmp_path, SIDE) == expected


def test_entries_that_act_change_the_pixels(tmp_path: Path) -> None:
    image = picture(SIDE, SIDE)
    levels = (image * 255).round().permute(2, 0, 1)[None]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    base = {"image_mean": list(MEAN), "image_std": list(STD)}
    cases: list[tuple[dict[str, Any], Tensor]] = [
        ({}, (levels / 255 - mean) / std),
        ({"image_mean": [0.1, 0.2, 0.3]}, (levels / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / std),
        ({"image_std": [1, 2, 3]}, (levels / 255 - mean) / torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)),
        ({"rescale_factor": 0.01}, (levels * 0.01 - mean) / std),
        ({"do_rescale": False}, (levels - mean) / std),
        ({"do_normalize": False}, levels / 255),
    ]
    for entry, expected in cases:
        processor = read_image_processor(write_settings(tmp_path, base | entry), SIDE)
        found = processor.pixel_values([image])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=lambda m, e=entry: f"{e}: {m}")
        # The image tokenizer always takes [-1, 1].
        torch.testing.assert_close(processor.pixels([image]), levels / 127.5 - 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("background_color", [0, 0, 0], r"must be \[127, 127, 127\]"),
        ("background_color", 255, r"must be \[127, 127, 127\]"),
        ("do_center_crop", True, "must be False"),
        ("do_convert_rgb", False, "must be True"),
        ("do_normalize", "no", "must be true or false"),
        ("do_pad", False, "must be True"),
        ("do_rescale", 1, "must be true or false"),
        ("do_resize", False, "must be True"),
        ("image_mean", [0.5, 0.5], "must be three numbers"),
        ("image_mean", 0.5, "must be three numbers"),
        ("image_mean", ["0.5", "0.5", "0.5"], "must be three numbers"),
        ("image_mean", [127.5, 127.5, 127.5], "must be from 0 to 1"),
        ("image_std", [0.5, 0, 0.5], "must be above 0"),
        ("image_std", [0.5, True, 0.5], "must be three numbers"),
        ("image_processor_type", "SiglipImageProcessor", "must be 'VLMImageProcessor'"),
        ("image_size", 48, "must be 64"),
        ("min_size", 0, "must be an integer from 1"),
        ("min_size", 14.5, "must be an integer from 1"),
        ("pad_size", {"height": 48, "width": 64}, "must be {'height': 64, 'width': 64}"),
        ("resample", 2, "must be 3"),
        ("rescale_factor", 0, "must be above 0"),
        ("rescale_factor", "1/255", "must be above 0"),
        ("size", {"height": 48, "width": 64}, "must be {'height': 64, 'width': 64}"),
        ("size", {"shortest_edge": 64}, "must be {'height': 64, 'width': 64}"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_an_entry_that_cannot_be_followed_is_refused_by_its_name(
    tmp_path: Path, name: str, value: object, rule: str, nested: bool
) -> None:
    file = "processor_config.json" if nested else "preprocessor_config.json"
    settings = image_settings(ImageProcessor(SIDE)) | {name: value}
    write_settings(tmp_path, {"image_processor": settings} if nested else settings, file)
    with pytest.raises(ValueError, match=f"{name} .*{rule}") as error:
        read_image_processor(tmp_path, SIDE)
    assert file in str(error.value)
    shown = tuple(value) if isinstance(value, list) and name.startswith("image_") else value
    assert f"got {shown!r}" in str(error.value)


@pytest.mark.parametrize(
    "entry",
    [
        *({"image_processor_type": name} for name in CLASSES),
        {"background_color": 127},
        *({"do_convert_rgb": value} for value in (True, None)),
        *({name: value} for name in ("size", "pad_size") for value in (SIDE, SQUARE)),
    ],
    ids=str,
)
def test_entries_that_name_what_is_done_anyway_are_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: dict[str, Any]
) -> None:
    write_settings(tmp_path, image_settings(ImageProcessor(SIDE)) | entry)
    assert read_image_processor(tmp_path, SIDE) == ImageProcessor(SIDE)
    assert not caplog.records


def test_what_transformers_and_the_reference_write_is_read_without_complaint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = {"crop_size": SQUARE, "default_to_square": False, "do_center_crop": False, "pad_size": SQUARE}
    for settings in ({}, sizes):
        assert read_image_processor(save_processor(tmp_path, **settings), SIDE).min_size == 14
    for name in ("janus-pro-tiny", "janusflow-tiny", "janus-pro-tiny-bin", "janusflow-tiny-bin"):
        assert read_image_processor(GOLDEN / name, SIDE) == ImageProcessor(SIDE)
        check_num_image_tokens(GOLDEN / name, 16)
    assert not caplog.records


def test_unknown_entries_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_settings(tmp_path, image_settings(ImageProcessor(SIDE)) | {"sharpen": 2})
    read_image_processor(tmp_path, SIDE)
    assert "preprocessor_config.json are not known and ignored: sharpen" in caplog.text


def test_settings_that_are_no_object_are_refused(tmp_path: Path) -> None:
    write_settings(tmp_path, {"image_processor": [1]}, "processor_config.json")
    with pytest.raises(ValueError, match=r"image_processor of .*processor_config.json must be a JSON object"):
        read_image_processor(tmp_path, SIDE)


def test_another_number_of_image_tokens_is_refused(tmp_path: Path) -> None:
    check_num_image_tokens(tmp_path, 16)
    write_settings(tmp_path, {"num_image_tokens": 576}, "processor_config.json")
    check_num_image_tokens(tmp_path, 576)
    with pytest.raises(
        ValueError, match=r"num_image_tokens in .*processor_config.json must be 16, .* got 576"
    ):
        check_num_image_tokens(tmp_path, 16)


def test_the_settings_of_a_released_model_are_written_as_the_reference_has_them() -> None:
    file = GOLDEN / "janus-pro-tiny" / "preprocessor_config.json"
    expected = json.loads(file.read_text(encoding="utf-8"))
    found = image_settings(ImageProcessor(SIDE))
    assert found.pop("rescale_factor") == pytest.approx(expected.pop("rescale_factor"), rel=1e-14)
    assert found == expected


def test_a_saved_checkpoint_keeps_settings_from_either_home(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "Janus-Pro")
    (folder / "preprocessor_config.json").unlink()
    settings = {"image_mean": list(MEAN), "image_std": list(STD), "min_size": 20, "do_normalize": False}
    edit_json(folder / "processor_config.json", lambda entries: entries.update(image_processor=settings))
    pipe = load_pipeline(folder, dtype=torch.float32)
    assert pipe.image_processor == ImageProcessor(SIDE, MEAN, STD, 20, do_normalize=False)
    save_checkpoint(pipe, tmp_path / "saved")
    assert load_pipeline(tmp_path / "saved").image_processor == pipe.image_processor
    # In one home only, the one that the reference reads.
    assert "image_processor" not in (tmp_path / "saved" / "processor_config.json").read_text("utf-8")
