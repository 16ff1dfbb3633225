"""Files that look like images, by their extension or their first bytes, but are not read."""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.janus_core.processing.folder_files import is_unread_image
from PIL import Image, features


@pytest.mark.parametrize("name", ["a.heic", "A.HEIF", "a.svg", "a.CR2", "a.dng", "a.kra", "a.jxl", "a.exr"])
def test_images_in_other_formats_are_known_by_their_extension(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("anything", encoding="utf-8")
    assert is_unread_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("name", ["image", "image.jpg_large", "image.png.part", "image.dat"])
def test_images_without_their_extension_are_known_by_their_first_bytes(
    tmp_path: Path, kind: str, name: str
) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    Image.new("RGB", (9, 8)).save(tmp_path / name, kind)
    assert is_unread_image(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"anything"),  # read, or reported as damaged
        ("a.txt", b"II*\0"),
        ("a.caption", b"BM the caption of an image"),
        ("metadata.jsonl", b"{}"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
        ("film.mp4", b"\0\0\0\x20ftypisom"),
        ("sound.wav", b"RIFF\0\0\0\0WAVE"),
        ("empty", b""),
        ("._a.heic", b"of macOS"),
    ],
)
def test_other_files_are_no_images(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert not is_unread_image(tmp_path / name)


def test_folders_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.heic").mkdir()
    assert not is_unread_image(tmp_path / "a.heic")
