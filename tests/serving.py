"""A service in a thread of the test, and what is sent to it."""

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from rain.deploy.answering import Answerer
from rain.deploy.service import build_app
from rain.deploy.settings import Settings

SMALL = "rain(enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1))"
BOUNDARY = "----rain"


@dataclass
class Place:
    """Where a service listens.

    Args:
        port: of this machine.
        server: the one that runs there.
    """

    port: int
    server: uvicorn.Server

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request: status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def predict(self, *files: bytes, **values: Any) -> tuple[int, dict[str, Any]]:
        """Send files as a form: status, and the answer as JSON has it."""
        body, kind = form(files, values)
        status, _, answer = self.ask("POST", "/predict", body, {"content-type": kind})
        return status, json.loads(answer)


def form(files: Any, values: Mapping[str, Any]) -> tuple[bytes, str]:
    """A form with files and values, and its content type."""
    parts = []
    for number, content in enumerate(files):
        head = f'content-disposition: form-data; name="files"; filename="{number}.png"'
        parts.append(f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    for name, value in values.items():
        head = f'content-disposition: form-data; name="{name}"'
        parts.append(f"--{BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n".encode())
    parts.append(f"--{BOUNDARY}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={BOUNDARY}"


def png(level: int = 128, side: int = 16) -> bytes:
    """A picture of one grey level with some noise, as a file."""
    noise = np.random.default_rng(level).integers(-9, 10, (side, side, 3))
    content = io.BytesIO()
    Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


@contextmanager
def serving(answerer: Answerer | None = None, **changes: Any) -> Iterator[Place]:
    """Run a service of the tiny classifier; keywords replace its settings."""
    settings = Settings(
        **{"classifier": "models:tiny", "defense": SMALL, "device": "cpu", "draws": 2} | changes
    )
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(settings, answerer), log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield Place(listener.getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
