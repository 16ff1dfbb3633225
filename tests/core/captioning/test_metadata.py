"""The text in image files, as cameras, Windows and drawing programs write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.janus_core.captioning.metadata import MAX_LENGTH, embedded_text
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

TEXT = "Größe: 猫, a cat"
PROMPT = "a cat, (best quality:1.2)\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 7"


def png(path: Path, **chunks: str) -> Path:
    info = PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name, text)
    Image.new("RGB", (4, 4)).save(path / "a.png", pnginfo=info)
    return path / "a.png"


def with_exif(path: Path, tag: int, value: object, ending: str = "jpg") -> Path:
    exif = Image.Exif()
    if tag == ExifTags.Base.UserComment:
        exif[ExifTags.IFD.Exif] = {tag: value}
    else:
        exif[tag] = value
    Image.new("RGB", (4, 4)).save(path / f"a.{ending}", exif=exif.tobytes())
    return path / f"a.{ending}"


@pytest.mark.parametrize("ending", ["jpg", "webp", "png"])
@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (ExifTags.Base.ImageDescription, TEXT.encode()),
        (ExifTags.Base.XPComment, TEXT.encode("utf-16-le") + b"\0\0"),
        (ExifTags.Base.XPKeywords, TEXT.encode("utf-16-le")),
        (ExifTags.Base.UserComment, b"UNICODE\0" + TEXT.encode("utf-16-be")),
        (ExifTags.Base.UserComment, b"UNICODE\0" + TEXT.encode("utf-16-le")),
        (ExifTags.Base.UserComment, b"UNICODE\0" + TEXT.encode("utf-16")),
        (ExifTags.Base.UserComment, b"ASCII\0\0\0" + TEXT.encode()),
        (ExifTags.Base.UserComment, b"\0" * 8 + TEXT.encode()),
    ],
)
def test_texts_in_exif_are_read(tmp_path: Path, tag: int, value: bytes, ending: str) -> None:
    assert embedded_text(with_exif(tmp_path, tag, value, ending)) == TEXT


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ({"Description": TEXT}, TEXT),
        ({"parameters": PROMPT}, "a cat, (best quality:1.2)"),
        ({"parameters": PROMPT, "Description": TEXT}, TEXT),
        ({"parameters": "Steps: 20, Sampler: Euler a"}, ""),
        ({"Comment": "two\n\tlines\0"}, "two lines"),
        ({"prompt": '{"3": {"class_type": "KSampler"}}', "workflow": "{}"}, ""),
        ({"Comment": '{"prompt": "JSON"}', "Title": "A cat"}, "A cat"),
        ({"Description": "word " * 1000}, ("word " * 200).strip()),
        ({}, ""),
    ],
)
def test_text_chunks_of_png_files_are_read(tmp_path: Path, chunks: dict[str, str], text: str) -> None:
    assert embedded_text(png(tmp_path, **chunks)) == text
    assert len(text) <= MAX_LENGTH


def test_the_prompt_in_a_jpeg_is_read(tmp_path: Path) -> None:
    comment = b"UNICODE\0" + PROMPT.encode("utf-16-be")
    assert (
        embedded_text(with_exif(tmp_path, ExifTags.Base.UserComment, comment)) == "a cat, (best quality:1.2)"
    )


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\x00\x10Exif\0\0broken"])
def test_broken_metadata_count_as_none(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert embedded_text(tmp_path / "a.jpg") == ""
    assert "the metadata of" in caplog.text and "cannot be read" in caplog.text
