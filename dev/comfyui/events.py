"""WebSocket messages of a ComfyUI server."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import websocket

IMAGE_PREVIEW, TEXT, IMAGE_PREVIEW_WITH_METADATA = 1, 3, 4


@dataclass(frozen=True)
class Event:
    """One WebSocket message.

    Attributes:
        type: the server's name for it ('executing', 'progress', …), or 'preview' or 'progress_text'.
        data: the JSON payload; for 'progress_text' `node` and `text`; for 'preview' the metadata, if any.
        image: the encoded picture (JPEG or PNG) of a 'preview'.
    """

    type: str
    data: dict[str, Any]
    image: bytes = b""

    @property
    def running_node(self) -> str | None:
        """The node that starts to run with this event, or None."""
        return self.data.get("node") if self.type == "executing" else None


class Watcher:
    """Collects the events that the server sends to one client."""

    def __init__(self, connection: websocket.WebSocket, client_id: str) -> None:
        self.client_id = client_id
        self.events: list[Event] = []
        self._connection = connection

    def until(self, wanted: Callable[[Event], bool], timeout: float = 60) -> Event:
        """Waits for the first new event that `wanted` accepts.

        Raises:
            TimeoutError: none came within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._connection.settimeout(left)
            try:
                message = self._connection.recv()
            except websocket.WebSocketTimeoutException:
                break
            self.events.append(decode_event(message))
            if wanted(self.events[-1]):
                return self.events[-1]
        seen = ", ".join(event.type for event in self.events[-5:])
        raise TimeoutError(f"the expected event must arrive within {timeout} s, got: {seen or 'nothing'}")

    def until_running(self, node_id: str, timeout: float = 60) -> Event:
        """Waits until a node starts to run."""
        return self.until(lambda event: event.running_node == node_id, timeout)

    def until_finished(self, prompt_id: str, timeout: float = 300) -> None:
        """Waits until a prompt has ended, with success or without."""

        def finished(event: Event) -> bool:
            # "No node is executing" is sent at the end of a run, after its history entry is written.
            ended = event.type == "executing" and event.running_node is None
            return ended and event.data.get("prompt_id") == prompt_id

        self.until(finished, timeout)


def decode_event(message: str | bytes) -> Event:
    """Decodes a message: JSON text, or one of the binary layouts of ComfyUI's protocol.py."""
    if isinstance(message, str):
        content = json.loads(message)
        return Event(content["type"], content.get("data") or {})
    kind, payload = struct.unpack(">I", message[:4])[0], message[4:]
    if kind == IMAGE_PREVIEW:
        return Event("preview", {}, payload[4:])  # the first four bytes are the image format
    if kind in (TEXT, IMAGE_PREVIEW_WITH_METADATA):
        size = struct.unpack(">I", payload[:4])[0]
        head, rest = payload[4 : 4 + size].decode(), payload[4 + size :]
        if kind == TEXT:
            return Event("progress_text", {"node": head, "text": rest.decode()})
        return Event("preview", json.loads(head), rest)
    return Event(f"binary {kind}", {})
