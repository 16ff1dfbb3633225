"""Fetching a released checkpoint, when the user has asked for it."""

import io
from fnmatch import fnmatch
from pathlib import Path

import comfy.utils
from comfy.model_management import InterruptProcessingException, throw_exception_if_processing_interrupted
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from ..janus_core import RELEASES, missing_files
from .paths import BUILT_IN, download_folder

# Settings and tokenizer, then weights, so that whoever finds all weights finds everything; neither pictures
# nor code.
_PATTERNS = ("*.json", "*.jinja", "*.bin", "*.safetensors")


def download_release(name: str) -> None:
    """Completes a released checkpoint in `models/janus`; does nothing if it is whole, as the built-in one is.

    Files that are there are left as they are. One that was broken off goes on where it stopped.

    Raises:
        ValueError: if the name is not that of a release.
        RuntimeError: if the download fails.
    """
    if name == BUILT_IN:
        return
    if name not in RELEASES:
        raise ValueError(
            f"download must be off for checkpoints other than {', '.join(RELEASES)}, got {name!r}; "
            "turn it off, or choose one of these"
        )
    folder, release = download_folder(name), RELEASES[name]
    if folder.is_dir() and not missing_files(folder):
        return
    try:
        _fetch(release.repo_id, release.revision, folder)
    except InterruptProcessingException:
        raise
    except Exception as error:  # each release of the hub's client has other classes of errors
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RuntimeError(
            f"{name} must be downloadable from huggingface.co/{release.repo_id}, got: {reason}; run again to "
            f"go on where it stopped, or put the files into {folder} yourself"
        ) from error


def _fetch(repo_id: str, revision: str, folder: Path) -> None:
    # File by file through a file of our own, not by `snapshot_download`: there, some releases of the hub's
    # client tell of no bytes, most cannot be stopped within a file, and newer ones forget a broken-off file.
    entries = HfApi().list_repo_tree(repo_id, revision=revision)
    sizes = {entry.path: entry.size for entry in entries if hasattr(entry, "size")}
    names = [name for pattern in _PATTERNS for name in sorted(sizes) if fnmatch(name, pattern)]
    bar = comfy.utils.ProgressBar(sum(sizes[name] for name in names))
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for name in names:
        if not (folder / name).exists():
            # The revision is in its name, so that parts of two revisions never become one file.
            partial = folder / f"{name}.{revision[:8]}.partial"
            with _WatchedFile(partial, bar, done) as file:
                _fetch_file(hf_hub_url(repo_id, name, revision=revision), file, sizes[name])
            partial.replace(folder / name)
        done += sizes[name]


def _fetch_file(url: str, file: "_WatchedFile", size: int) -> None:
    if file.tell() > size:
        file.seek(0)
        file.truncate()
    if file.tell() < size:
        # Compressed answers have no known size, and cannot be resumed.
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        http_get(url, file, resume_size=file.tell(), headers=headers, expected_size=size)


class _WatchedFile(io.BufferedWriter):
    """A file to append to that shows its growth, and stops whoever writes when the run is cancelled."""

    def __init__(self, path: Path, bar: comfy.utils.ProgressBar, done: int) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self.bar = bar
        self.done = done  # bytes of the files before this one

    def write(self, data) -> int:
        throw_exception_if_processing_interrupted()
        written = super().write(data)
        self.bar.update_absolute(self.done + self.tell())
        return written
