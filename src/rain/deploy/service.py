"""The web service: pictures in, answers out.

``build_app`` makes it; ``rain serve`` runs it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from rain.deploy import schema
from rain.deploy.answering import Answerer, Question
from rain.deploy.batching import Batcher, BusyError
from rain.deploy.guard import Guard
from rain.deploy.intake import Order, Upload, read_order
from rain.deploy.measures import Measures
from rain.deploy.settings import Settings, take_over
from rain.errors import ImageError
from rain.version import __version__

LOG = logging.getLogger("rain.serve")

DECODERS = 2
"""Threads that decode pictures, apart from the loop that answers and from the one that computes."""

KNOWN_PATHS = ("/predict", "/model", "/health", "/ready", "/metrics", "/openapi.json")


class Service:
    """A model, the jobs that wait for it, and what is counted.

    Args:
        settings: of the service.
        model: what answers.
    """

    def __init__(self, settings: Settings, model: Answerer):
        self.settings, self.model, self.measures = settings, model, Measures()
        self.decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="rain-decoders")
        self.batcher: Batcher[Question, dict[str, Any]] = Batcher(
            model.answer,
            most=settings.batch,
            wait_seconds=settings.wait_seconds,
            room=settings.queue,
            note=self.measures.batches.observe,
        )

    def note(self, path: str, status: int, seconds: float) -> None:
        """Count a request. Paths that there are not share one name: strangers choose them."""
        own = path if path in KNOWN_PATHS else "other"
        self.measures.requests.labels(own, str(status)).inc()
        self.measures.seconds.labels(own).observe(seconds)

    async def predict(self, order: Order) -> list[dict[str, Any]]:
        """Answer the pictures of a request, all or none.

        Raises:
            HTTPException: 422 for a picture that cannot be read; 503 where too many wait, or time is over.
        """
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                # Pictures count from here on: those that wait for a decoder are in the queue, too.
                with self.batcher.places(len(order.uploads)):
                    questions = [await self._read(upload, order) for upload in order.uploads]
                answers = await self.batcher.ask(questions)
        except HTTPException:
            raise
        except BusyError:
            raise HTTPException(503, "too many pictures wait: come again", {"retry-after": "1"}) from None
        except TimeoutError:
            limit = f"{self.settings.timeout_seconds:g} seconds"
            what = f"there was no answer within {limit}: come again, or send fewer or smaller pictures"
            raise HTTPException(503, what, {"retry-after": "5"}) from None
        except ImageError as error:
            raise HTTPException(422, str(error)) from None
        except Exception:
            LOG.exception("a request failed")
            raise HTTPException(500, "the model failed; the server's log says why") from None
        self.measures.images.inc(len(answers))
        self.measures.flagged.inc(sum(bool(answer.get("flagged")) for answer in answers))
        names = [upload.name for upload in order.uploads]
        return [{"file": name, **answer} for name, answer in zip(names, answers, strict=True)]

    async def _read(self, upload: Upload, order: Order) -> Question:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self.decoders, self.model.read, upload.content, order.seed, order.top
            )
        except ImageError as error:
            raise HTTPException(422, f"{upload.name or 'the file'}: {error}") from None


def open_model(settings: Settings) -> Answerer:
    """Open what the settings name: an exported model, which needs no torch, or a classifier and a defence."""
    if settings.model:
        from rain.deploy.exported import Exported

        return Exported(settings)
    from rain.deploy.model import Model

    return Model(settings)


def build_app(settings: Settings, model: Answerer | None = None) -> FastAPI:
    """Make the service.

    Args:
        settings: what it serves, and its limits.
        model: what answers; built of the settings by default, when the service starts.
    """
    service = Service(settings, model or open_model(settings))

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.model.warm_up()
        service.batcher.start()
        yield
        # Whoever was let in gets an answer.
        await service.batcher.close()
        service.decoders.shutdown()

    app = FastAPI(
        title="RAIN",
        version=__version__,
        summary="A classifier behind a defence.",
        lifespan=life,
        docs_url=None,  # its page loads scripts from a network
        redoc_url=None,
    )
    app.add_middleware(Guard, settings=settings, note=service.note)
    _add_routes(app, service)
    # An exported model has no gradients, by which the page attacks.
    if settings.page and not settings.model:
        from rain.deploy.model import Model
        from rain.deploy.page import add_page

        if isinstance(service.model, Model):
            add_page(app, settings, service.model)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post(
        "/predict",
        response_model=schema.Predictions,
        response_model_exclude_unset=True,
        openapi_extra=schema.REQUEST,
        responses=schema.FAULTS,
    )
    async def predict(request: Request) -> dict[str, Any]:
        """Classify one picture, or several."""
        order = await read_order(request, service.settings)
        predictions = await service.predict(order)
        return {"model": service.model.digest, "draws": service.model.draws, "predictions": predictions}

    @app.get("/model", response_model=schema.About)
    async def model() -> dict[str, Any]:
        """Say what is served."""
        return service.model.about() | {"version": __version__}

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the process lives."""
        return {"status": "alive"}

    @app.get("/ready", responses={503: {"description": "It stops, or too many wait."}})
    async def ready() -> JSONResponse:
        """Say whether a picture would be taken now."""
        batcher = service.batcher
        is_ready = not batcher.is_closing and batcher.crowd < batcher.room
        return JSONResponse({"status": "ready" if is_ready else "busy"}, 200 if is_ready else 503)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Give counts for Prometheus."""
        service.measures.waiting.set(service.batcher.crowd)
        return Response(service.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def app_of_environment() -> FastAPI:
    """Make the service by the settings in the environment: what each process of ``rain serve`` calls."""
    return build_app(take_over())
