"""Runs the example workflows on a real ComfyUI: `python3 tasks.py demo [--serve]`.

They use the built-in demonstration checkpoint; workflows that need others are left out. Images and answers
are written to `output/` in the repository.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from .comfyui.client import PromptRejectedError, RunResult
from .comfyui.server import ComfyServer
from .comfyui.tree import REPO_ROOT
from .comfyui.users import DRAWINGS, add_dataset, draw_folder
from .comfyui.workflow import to_prompt


def say(text: str) -> None:
    """Writes a line for the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def runnable(folder: Path) -> dict[str, dict[str, Any]]:
    """Reads the workflows of a folder, except those marked with `extra.janus.run: false`."""
    workflows = {}
    for path in sorted(folder.glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        if workflow.get("extra", {}).get("janus", {}).get("run") is not False:
            workflows[path.stem] = workflow
    return workflows


def save(
    name: str, prompt: dict[str, Any], result: RunResult, server: ComfyServer, folder: Path
) -> list[Path]:
    """Writes the images and texts of a run as `<name>-<number>.png` and `<name>.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    saved = [image for image in result.images() if image["type"] == "output"]
    for number, image in enumerate(saved or result.images(), start=1):
        written.append(folder / f"{name}-{number}{Path(image['filename']).suffix}")
        written[-1].write_bytes(server.client.view(image))
    # What a Load node says is about the checkpoint.
    answering = [node for node in result.outputs if prompt[node]["class_type"] != "JanusLoad"]
    if texts := [text for node in answering for text in result.texts(node)]:
        written.append(folder / f"{name}.txt")
        written[-1].write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return written


def run_workflows(server: ComfyServer, workflows: dict[str, dict[str, Any]], folder: Path) -> list[str]:
    """Runs each workflow and saves its results; returns the names of those that failed."""
    failed = []
    object_info = server.client.object_info()
    for name, workflow in workflows.items():
        start = time.monotonic()
        try:
            prompt = to_prompt(workflow, object_info)
            result = server.client.run(prompt, timeout=300).check()
        except (PromptRejectedError, RuntimeError, ValueError, TimeoutError) as error:
            failed.append(name)
            say(f"{name}: FAILED: {error}")
            continue
        say(f"{name}: {time.monotonic() - start:.1f} s")
        for path in save(name, prompt, result, server, folder):
            say(f"  {path}")
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; returns 1 if a workflow failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="keep the server open until Ctrl-C")
    parser.add_argument("--workflows", type=Path, default=REPO_ROOT / "workflows", help="folder of workflows")
    parser.add_argument("--output", type=Path, default=REPO_ROOT / "output", help="folder for the results")
    options = parser.parse_args(arguments)
    workflows = runnable(options.workflows)
    say("Starting ComfyUI (the first time, this downloads it) …")
    server = ComfyServer()
    add_dataset(server)
    draw_folder(server.base / "input" / DRAWINGS)
    with server:
        if not workflows:
            say(f"No workflows to run in {options.workflows}")
        failed = run_workflows(server, workflows, options.output)
        if options.serve:
            say(f"ComfyUI with the pack is open at {server.url} (Ctrl-C ends it)")
            while server.running:
                time.sleep(0.5)
    return 1 if failed else 0


if __name__ == "__main__":
    # Exit in the normal way on SIGTERM, so that the server is stopped and its folder deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
