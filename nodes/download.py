"""Fetching a released checkpoint, when the user has asked for it."""

import comfy.utils
from comfy.model_management import throw_exception_if_processing_interrupted
from huggingface_hub import snapshot_download
from huggingface_hub.utils import tqdm

from ..janus_core import RELEASES, missing_files
from .paths import download_folder

# Weights, settings and tokenizer; neither pictures nor code.
_PATTERNS = ["*.json", "*.jinja", "*.bin", "*.safetensors"]


def download_release(name: str) -> None:
    """Completes a released checkpoint in `models/janus`; does nothing if it is whole.

    Raises:
        ValueError: if the name is not that of a release.
    """
    if name not in RELEASES:
        raise ValueError(
            f"download must be off for checkpoints other than {', '.join(RELEASES)}, got {name!r}; "
            "turn it off, or choose one of these"
        )
    folder, release = download_folder(name), RELEASES[name]
    if folder.is_dir() and not missing_files(folder):
        return
    snapshot_download(
        release.repo_id,
        revision=release.revision,
        local_dir=folder,
        allow_patterns=_PATTERNS,
        tqdm_class=_progress_class(release.num_bytes),
    )


def _progress_class(num_bytes: int) -> type[tqdm]:
    bar = comfy.utils.ProgressBar(num_bytes)

    class DownloadProgress(tqdm):
        """Shows bytes on the node, and stops the download when the run is cancelled; what is there stays."""

        def update(self, n: float | None = 1) -> bool | None:
            throw_exception_if_processing_interrupted()
            if self.unit == "B":
                bar.update_absolute(int(self.n + (n or 0)))
            return super().update(n)

    return DownloadProgress
