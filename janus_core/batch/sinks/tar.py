"""Parts as WebDataset tars: for each row a PNG, its text, and a JSON file with the other columns."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..rows import Result
from .jsonl import line
from .parts import PartForm


def _write(path: Path, results: Sequence[Result], columns: dict[str, str]) -> None:
    with tarfile.open(path, "w") as tar:
        for number, result in enumerate(results):
            rest = {name: value for name, value in result.items() if name not in ("image", "text")}
            files = {"json": line(rest)}
            if result.get("text"):
                files["txt"] = result["text"].encode(errors="surrogateescape")
            if result.get("image"):
                files["png"] = result["image"]
            for ending, content in sorted(files.items()):
                # The key is a number, since an id may hold a dot, which ends a key.
                member = tarfile.TarInfo(f"{number:06d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _read(path: Path) -> list[Result]:
    results: dict[str, Result] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, ending = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None  # this module writes nothing but files
            content = file.read()
            result = results.setdefault(key, {})
            if ending == "json":
                result |= json.loads(content)
            elif ending == "txt":
                result["text"] = content.decode(errors="surrogateescape")
            else:
                result["image"] = content
    return list(results.values())


def _ids(path: Path) -> Iterator[tuple[str, bool]]:
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.endswith(".json"):
                file = tar.extractfile(member)
                assert file is not None
                result = json.load(file)
                yield result["id"], "error" in result


TAR = PartForm(".tar", _write, _read, _ids)
