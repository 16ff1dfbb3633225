"""A local stand-in for the Hugging Face Hub: the two requests that a download makes, for one repository."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

CHUNK = 64 * 1024


@dataclass
class FakeHub:
    """Serves the files of a folder as `repo_id` at `revision`, and records the requests.

    Attributes:
        folder: the repository; its subfolders are listed but not served.
        requests: requested paths, each with its Range header or ''.
        break_off: called with a file's name and the number of bytes sent; True closes the connection.
    """

    folder: Path
    repo_id: str
    revision: str
    port: int
    requests: list[tuple[str, str]] = field(default_factory=list)
    break_off: Callable[[str, int], bool] = lambda name, sent: False

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            # One request per connection (HTTP/1.0): a kept connection would outlive the hub.
            def do_GET(self) -> None:  # http.server's name
                hub.answer(self)

            def log_message(self, *arguments: object) -> None:
                """Logs nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Lists the repository or sends a file, or the requested rest of it; answers 404 otherwise."""
        path, asked = urlsplit(request.path).path, request.headers.get("Range", "")
        self.requests.append((path, asked))
        tree, files = (
            f"/api/models/{self.repo_id}/tree/{self.revision}",
            f"/{self.repo_id}/resolve/{self.revision}/",
        )
        if path == tree:
            send(request, 200, json.dumps(self.entries()).encode())
        elif path.startswith(files) and (self.folder / path.removeprefix(files)).is_file():
            self.send_file(request, self.folder / path.removeprefix(files), asked)
        else:
            send(request, 404, b'{"error": "Repository not found"}')

    def entries(self) -> list[dict[str, object]]:
        """Files and folders in the form of the hub's API."""
        return [
            {"type": "directory", "path": path.name, "oid": "0" * 40, "size": 0}
            if path.is_dir()
            else {"type": "file", "path": path.name, "oid": "0" * 40, "size": path.stat().st_size}
            for path in sorted(self.folder.iterdir())
        ]

    def send_file(self, request: BaseHTTPRequestHandler, path: Path, asked: str) -> None:
        """Sends a file from the requested first byte on."""
        content = path.read_bytes()
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(content) - start))
        if asked:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        for sent in range(start, len(content), CHUNK):
            if self.break_off(path.name, sent):
                return
            try:
                request.wfile.write(content[sent : sent + CHUNK])
            except OSError:  # the client has disconnected
                return


def send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Sends a JSON response."""
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
