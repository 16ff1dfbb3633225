"""Image folders to caption, and a process that captions one and kills itself on the way.

`python captioning.py FOLDER OUTPUT DEATH`: DEATH says when, see `main`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

TESTS = Path(__file__).resolve().parents[1]


def write_images(folder: Path, count: int) -> Path:
    """Writes images of random pixels and different sizes as `image_<number>.png`; returns the folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        pixels = rng.integers(0, 256, (8 + number % 5, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"image_{number}.png")
    return folder


def killed_run(folder: Path, output: str, death: str) -> None:
    """Captions a folder in another process that kills itself on the way."""
    command = [sys.executable, __file__, str(folder), output, death]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode != -signal.SIGKILL:
        raise AssertionError(f"the run must be killed, got exit code {done.returncode}: {done.stderr}")


def die() -> None:
    """Kills this process without any clean-up, as the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, output: str, death: str) -> None:
    """Captions a folder with the golden checkpoint until `death`.

    `half`: when half of the images are captioned. `torn`: when the last caption of that half is partly on
    disk.
    """
    from support.packages import load_packages

    load_packages()
    import torch
    from janus_nodes.janus_core import CaptionFolder, TextSampling, caption_folder, load_pipeline

    pipe = load_pipeline(TESTS / "golden" / "janus-pro-tiny", dtype=torch.float32)
    written = 0
    count = len(list(folder.glob("*.png")))

    def on_image(done: int, total: int) -> None:
        if death == "half" and done >= total / 2:
            die()

    def fsync(descriptor: int) -> None:
        # Called when a file is written, before it gets its final name.
        nonlocal written
        written += 1 if output == "txt" else 8
        if death == "torn" and written >= count / 2:
            os.truncate(descriptor, os.fstat(descriptor).st_size - 5)
            die()

    os.fsync = fsync
    caption_folder(
        pipe, folder, CaptionFolder(output=output), TextSampling(max_new_tokens=4), on_image=on_image
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
