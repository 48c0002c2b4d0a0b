"""The page of the service: its files, and the work that it asks for, one at a time."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from torch import Tensor

from rain.deploy.intake import read_order
from rain.deploy.model import Model
from rain.deploy.settings import Settings
from rain.deploy.workbench import MOST_EPS, Limits, StoppedError, about, attack, look
from rain.errors import DatasetError, ImageError, RainError
from rain.registry import load_dataset

KINDS = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}

POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

ATTACKS = ("transfer", "adaptive")

LOG = logging.getLogger("rain.serve")

FAILED = "the model failed; the server's log says why"


class Desk:
    """Where one thing is worked at, at a time.

    Args:
        settings: of the service.
        model: what is looked at.
    """

    def __init__(self, settings: Settings, model: Model):
        self.settings, self.model = settings, model
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="rain-page")
        self.is_taken = False

    async def read(self, request: Request) -> Tensor:
        """The one picture of a request."""
        order = await read_order(request, self.settings)
        if len(order.uploads) > 1:
            raise HTTPException(422, "one picture at a time")
        loop = asyncio.get_running_loop()
        content = order.uploads[0].content
        try:
            question = await loop.run_in_executor(None, self.model.read, content, None, 1)
        except ImageError as error:
            raise HTTPException(422, str(error)) from None
        return question.image

    async def work(
        self, job: Callable[[Limits, Callable[..., None]], dict[str, Any]]
    ) -> AsyncIterator[bytes]:
        """Do a job on the thread of the page, and tell of it line by line, as JSON.

        Raises:
            HTTPException: somebody else's is being done.
        """
        if self.is_taken:
            raise HTTPException(
                503, "somebody else's picture is on the desk: try again", {"retry-after": "3"}
            )
        self.is_taken = True
        loop, lines = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()
        limits = Limits(time.monotonic() + self.settings.page_seconds, threading.Event())

        def say(line: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, line)

        def run() -> None:
            try:
                last: dict[str, Any] = {"found": job(limits, lambda done, of: say({"done": done, "of": of}))}
            except (StoppedError, RainError) as error:
                last = {"error": str(error)}
            except BaseException:  # somebody waits for a last line; own code may even exit
                LOG.exception("a picture of the page failed")
                last = {"error": FAILED}
            # Who has read the last line may ask again at once.
            loop.call_soon_threadsafe(self._leave)
            say(last)

        self.thread.submit(run)
        return self._told(lines, limits)

    def _leave(self) -> None:
        self.is_taken = False

    async def _told(self, lines: "asyncio.Queue[dict[str, Any]]", limits: Limits) -> AsyncIterator[bytes]:
        try:
            while True:
                line = await lines.get()
                yield json.dumps(line).encode() + b"\n"
                if "found" in line or "error" in line:
                    return
        finally:
            limits.is_unwanted.set()  # whoever asked is gone, or has what he wanted


def add_page(app: FastAPI, settings: Settings, model: Model) -> Desk:
    """Add the page to a service. What it asks for is no part of the API."""
    desk = Desk(settings, model)
    own = files("rain.deploy") / "static"

    def give(name: str) -> Response:
        headers = {"content-security-policy": POLICY}
        return Response((own / name).read_bytes(), media_type=KINDS[name], headers=headers)

    for path, name in (("/", "index.html"), ("/page.css", "page.css"), ("/page.js", "page.js")):
        app.add_api_route(path, lambda name=name: give(name), include_in_schema=False)

    @app.get("/page/about", include_in_schema=False)
    async def page_about() -> dict[str, Any]:
        return {**about(model), "samples": len(sample_files())}

    @app.get("/page/samples/{number}", include_in_schema=False)
    async def page_sample(number: int) -> Response:
        samples = sample_files()
        if not 0 <= number < len(samples):
            raise HTTPException(404, "no such sample")
        return Response(samples[number].read_bytes(), media_type="image/jpeg")

    @app.post("/page/look", include_in_schema=False)
    async def page_look(request: Request) -> Response:
        image = await desk.read(request)
        lines = await desk.work(lambda limits, progress: look(model, image))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @app.post("/page/attack/{kind}/{levels}", include_in_schema=False)
    async def page_attack(kind: str, levels: int, request: Request) -> Response:
        if kind not in ATTACKS or not 1 <= levels <= 255 * MOST_EPS:
            raise HTTPException(404, f"an attack is one of {', '.join(ATTACKS)}, of 1 to 16 levels")
        eps, image = levels / 255, await desk.read(request)
        lines = await desk.work(lambda limits, progress: attack(model, image, kind, eps, limits, progress))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    return desk


def sample_files() -> list[Path]:
    """The sample pictures; none where they are not installed."""
    try:
        pictures: Any = load_dataset("samples")
    except DatasetError:
        return []
    return [pictures.root / name for name in pictures.files]
