"""Download of released checkpoints, if the user has turned it on."""

import io
from fnmatch import fnmatch
from pathlib import Path

import comfy.utils
from comfy.model_management import InterruptProcessingException, throw_exception_if_processing_interrupted
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from ..janus_core import RELEASES, missing_files
from .checkpoint_folders import is_complete
from .paths import BUILT_INS, loadable, resolve
from .release_files import download_folder, loose_weights

# In this order: weights come last, so that a folder with all weights is complete.
_TEXTS = ("*.json", "*.jinja")
_WEIGHTS = ("*.bin", "*.safetensors")


def download_release(name: str) -> None:
    """Downloads the missing files of a release to `models/janus`; does nothing for built-in ones.

    Existing files are left as they are. An interrupted download continues where it stopped. Nothing is
    downloaded if the release is found under any of the names that `find` accepts.

    Raises:
        ValueError: if the name is not that of a release, or if weights lie where they may be the release's.
        RuntimeError: if the download fails.
    """
    if name in BUILT_INS:
        return
    found = resolve(name)
    name = found if found in RELEASES else name
    if name not in RELEASES:
        raise ValueError(
            f"download must be off for checkpoints other than {', '.join(RELEASES)}, got {name!r}; "
            "turn it off, or choose one of these"
        )
    folder = loadable().get(found)
    if folder is not None and is_complete(folder):
        return
    if loose := loose_weights(name, only_named=True):
        raise ValueError(f"download must be off while weights lie outside a folder of their own, got {loose}")
    folder, release = download_folder(name), RELEASES[name]
    # Weights that are there already, under whatever name, are not downloaded once more.
    lacks_weights = bool(set(missing_files(folder)) - {"config.json", "tokenizer.json"})
    patterns = (*_TEXTS, *(_WEIGHTS if lacks_weights else ()))
    try:
        _download_files(release.repo_id, release.revision, folder, patterns)
    except InterruptProcessingException:
        raise
    except Exception as error:  # the error classes depend on the version of huggingface_hub
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RuntimeError(
            f"{name} must be downloadable from huggingface.co/{release.repo_id}, got: {reason}; run again to "
            f"continue where it stopped, or put the files into {folder} yourself"
        ) from error


def _download_files(repo_id: str, revision: str, folder: Path, patterns: tuple[str, ...]) -> None:
    """Downloads the files that match a pattern, one after the other, each under a temporary name at first.

    `snapshot_download` is not used: no version of it can be interrupted within a file and continue there
    later. Early ones report progress by whole files, and 2.x deletes incomplete files.
    """
    entries = HfApi().list_repo_tree(repo_id, revision=revision)
    sizes = {entry.path: entry.size for entry in entries if hasattr(entry, "size")}
    names = [name for pattern in patterns for name in sorted(sizes) if fnmatch(name, pattern)]
    bar = comfy.utils.ProgressBar(sum(sizes[name] for name in names))
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for name in names:
        if not (folder / name).exists():
            # The revision in the temporary name keeps the parts of two revisions apart.
            partial = folder / f"{name}.{revision[:8]}.partial"
            with _ReportingFile(partial, bar, done) as file:
                _complete(file, hf_hub_url(repo_id, name, revision=revision), sizes[name])
            partial.replace(folder / name)
        done += sizes[name]


def _complete(file: "_ReportingFile", url: str, size: int) -> None:
    """Downloads what a file of `size` bytes lacks."""
    if file.tell() > size:
        file.seek(0)
        file.truncate()
    if file.tell() < size:
        # A compressed response has no known size and cannot be resumed.
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        http_get(url, file, resume_size=file.tell(), headers=headers, expected_size=size)


class _ReportingFile(io.BufferedWriter):
    """A file opened for appending; each write moves the progress bar and lets the user cancel."""

    def __init__(self, path: Path, bar: comfy.utils.ProgressBar, offset: int) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self.bar = bar
        self.offset = offset  # bytes of the files before this one

    def write(self, data) -> int:
        throw_exception_if_processing_interrupted()
        written = super().write(data)
        self.bar.update_absolute(self.offset + self.tell())
        return written
