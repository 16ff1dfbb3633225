"""Image files that are cut off: what is there is read, and files without any pixels are refused.

Reported in Comfy-Org/ComfyUI #2692.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from janus_nodes.janus_core.processing import image_files
from janus_nodes.janus_core.processing.image_files import read_image
from PIL import Image, ImageFile
from support.image_files import encoded

NOISE = np.random.default_rng(5).integers(0, 256, (128, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_of_a_file_that_is_cut_off_the_rest_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, share: float
) -> None:
    content = encoded(Image.fromarray(NOISE), kind)
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
    whole, cut = read_image(tmp_path / "whole"), read_image(tmp_path / "cut")
    rows = int(128 * share) - 32  # that are there at least, as blocks are 16 pixels high
    assert torch.equal(cut[:rows], whole[:rows])
    assert cut.shape == whole.shape
    (record,) = caplog.records
    assert "cut is damaged" in record.getMessage()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("colour", ["white", "black", (200, 40, 90)], ids=str)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_picture_of_one_colour_may_lack_the_end_of_its_file(
    tmp_path: Path, colour: str | tuple[int, ...], progressive: bool
) -> None:
    content = encoded(Image.new("RGB", (64, 48), colour), "JPEG", progressive=progressive)
    assert content.endswith(b"\xff\xd9")
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "cut").write_bytes(content[:-2])
    for max_side in (None, 16):
        whole = read_image(tmp_path / "whole", max_side=max_side)
        assert torch.equal(read_image(tmp_path / "cut", max_side=max_side), whole)


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (200, 40, 90)), ("L", 255), ("CMYK", (9, 90, 0, 20))])
def test_a_jpeg_of_nothing_but_the_grey_of_missing_pixels_is_refused(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...]
) -> None:
    content = encoded(Image.new(mode, (64, 48), colour), "JPEG", progressive=True)
    scan = content.index(b"\xff\xda")
    data = scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big")
    (tmp_path / "cut").write_bytes(content[:data])
    with pytest.raises(ValueError, match=r"image must be readable, got: image file is truncated .*; fix or"):
        read_image(tmp_path / "cut")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_file_of_which_nothing_can_be_decoded_is_refused(tmp_path: Path, kind: str) -> None:
    content = encoded(Image.fromarray(NOISE), kind)
    header = content.index(b"\xff\xda") if kind == "JPEG" else 48
    (tmp_path / "cut").write_bytes(content[:header])
    with pytest.raises(ValueError, match=r"image must be readable, got: .*; fix or remove it"):
        read_image(tmp_path / "cut")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_damage_is_allowed_on_one_thread_only() -> None:
    with ThreadPoolExecutor(1) as other, image_files._damage_allowed():
        flag = ImageFile.LOAD_TRUNCATED_IMAGES
        assert flag
        assert not other.submit(lambda: bool(ImageFile.LOAD_TRUNCATED_IMAGES)).result()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    # Whoever saved it meanwhile, as ComfyUI does to restore it later, keeps a switch that is off.
    assert not flag
