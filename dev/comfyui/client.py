"""HTTP and WebSocket client of a ComfyUI server."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import websocket

from .events import Event, Watcher

Prompt = Mapping[str, Mapping[str, Any]]
FEATURE_FLAGS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}


class PromptRejectedError(RuntimeError):
    """The server rejected a prompt before running it; `body` holds its response."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        reasons = [body.get("error", {}).get("message", "no message")]
        for node_id, node in body.get("node_errors", {}).items():
            reasons += [f"node {node_id}: {e['message']}: {e.get('details')}" for e in node.get("errors", [])]
        super().__init__("; ".join(reasons))


@dataclass(frozen=True)
class NodeError:
    """The exception that a node raised."""

    node_id: str
    node_type: str
    exception_type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class RunResult:
    """Result of a prompt.

    Attributes:
        status: 'success', 'error' or 'interrupted'.
        outputs: results of the output nodes by node id, as in the history.
        errors: empty unless the status is 'error'.
        events: all messages received during the run, in order.
    """

    prompt_id: str
    status: str
    outputs: dict[str, dict[str, Any]]
    errors: list[NodeError]
    events: list[Event]

    def check(self) -> RunResult:
        """Returns this result, or raises a RuntimeError with the errors of the server."""
        if self.status != "success":
            reasons = [f"node {e.node_id} ({e.node_type}): {e.message}\n{e.traceback}" for e in self.errors]
            raise RuntimeError(f"the run must end in success, got {self.status}; " + "\n".join(reasons))
        return self

    def _shown(self, key: str, node_id: str | None) -> list[Any]:
        nodes = [output for id_, output in self.outputs.items() if node_id in (None, id_)]
        return [item for output in nodes for item in output.get(key) or ()]

    def images(self, node_id: str | None = None) -> list[dict[str, str]]:
        """Returns the images of one output node or of all, for `ComfyClient.view`."""
        return self._shown("images", node_id)

    def texts(self, node_id: str | None = None) -> list[str]:
        """Returns the texts of one output node or of all."""
        return self._shown("text", node_id)

    def of_type(self, kind: str) -> list[Event]:
        """Returns the events of one type."""
        return [event for event in self.events if event.type == kind]

    @property
    def previews(self) -> list[bytes]:
        """The preview images, still encoded."""
        return [event.image for event in self.of_type("preview")]


class ComfyClient:
    """A client of the server at `url`, for example 'http://127.0.0.1:8188'."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **params: str) -> requests.Response:
        """Fetches `path` ('/queue', '/extensions', …), raising on HTTP errors."""
        response = requests.get(self.url + path, params=params, timeout=60)
        response.raise_for_status()
        return response

    def post(self, path: str, body: Mapping[str, Any]) -> requests.Response:
        """Posts JSON to `path`, raising on HTTP errors."""
        response = requests.post(self.url + path, json=body, timeout=60)
        response.raise_for_status()
        return response

    def object_info(self) -> dict[str, Any]:
        """Returns the description of every node class."""
        return self.get("/object_info").json()

    def upload_image(self, path: Path, name: str | None = None) -> str:
        """Uploads a file to the input folder, overwriting an older one; returns its name for LoadImage."""
        with path.open("rb") as file:
            files = {"image": (name or path.name, file)}
            response = requests.post(
                f"{self.url}/upload/image", files=files, data={"overwrite": "true"}, timeout=60
            )
        response.raise_for_status()
        return str(response.json()["name"])

    def queue(self, prompt: Prompt, client_id: str | None = None) -> str:
        """Queues a prompt in API format and returns its id; `client_id` receives the events.

        Raises:
            PromptRejectedError: the server found the prompt invalid.
        """
        body = {"prompt": prompt, "client_id": client_id} if client_id else {"prompt": prompt}
        response = requests.post(f"{self.url}/prompt", json=body, timeout=60)
        if response.status_code == 400:
            raise PromptRejectedError(response.json())
        response.raise_for_status()
        return str(response.json()["prompt_id"])

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Opens a WebSocket; it receives the events of prompts that are queued with its `client_id`."""
        client_id = uuid.uuid4().hex
        address = f"{self.url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        connection = websocket.create_connection(address, timeout=30)
        try:
            connection.send(json.dumps(FEATURE_FLAGS))
            watcher = Watcher(connection, client_id)
            # The server answers once it has registered this client.
            watcher.until(lambda event: event.type == "feature_flags", timeout=30)
            yield watcher
        finally:
            connection.close()

    def run(self, prompt: Prompt, timeout: float = 300) -> RunResult:
        """Runs a prompt and returns its result; errors of nodes do not raise here, see `RunResult.check`.

        Raises:
            PromptRejectedError: the server found the prompt invalid.
            TimeoutError: the run took longer than `timeout` seconds.
        """
        with self.watch() as watcher:
            prompt_id = self.queue(prompt, watcher.client_id)
            watcher.until_finished(prompt_id, timeout)
            return self.result(prompt_id, watcher.events)

    def result(self, prompt_id: str, events: list[Event] | None = None) -> RunResult:
        """Reads the result of a finished prompt from the history."""
        entry = self.history(prompt_id)
        messages = dict(entry["status"]["messages"])
        status = "interrupted" if "execution_interrupted" in messages else entry["status"]["status_str"]
        errors = []
        if error := messages.get("execution_error"):
            errors = [
                NodeError(
                    node_id=error["node_id"],
                    node_type=error["node_type"],
                    exception_type=error["exception_type"],
                    message=error["exception_message"],
                    traceback="".join(error["traceback"]),
                )
            ]
        return RunResult(prompt_id, status, entry["outputs"], errors, list(events or ()))

    def history(self, prompt_id: str) -> dict[str, Any]:
        """Returns the history entry of a finished prompt, or {} for an unknown or unfinished one."""
        return self.get(f"/history/{prompt_id}").json().get(prompt_id, {})

    def view(self, image: Mapping[str, str]) -> bytes:
        """Downloads one of `RunResult.images()`."""
        return self.get("/view", **image).content

    def interrupt(self) -> None:
        """Asks the running prompt to stop."""
        self.post("/interrupt", {})

    def wait_until_idle(self, seconds: float = 60) -> None:
        """Waits until the queue is empty.

        Raises:
            TimeoutError: it is not empty after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while any(self.get("/queue").json().values()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the queue must be empty within {seconds:.0f} s, it still holds a run")
            time.sleep(0.1)

    def free(self, unload_models: bool = True, free_memory: bool = True) -> None:
        """Asks the server to free memory, which it does shortly after this call, between two prompts."""
        self.post("/free", {"unload_models": unload_models, "free_memory": free_memory})
