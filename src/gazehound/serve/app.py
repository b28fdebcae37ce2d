"""The application: its routes, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from gazehound import __version__
from gazehound.checkpoints.native import Header
from gazehound.detectors.detector import Detector
from gazehound.errors import ConfigError, unknown_name
from gazehound.records import Classes, Detections
from gazehound.serve.answers import (
    DetectAnswer,
    Health,
    ModelAnswer,
    detections_document,
    model_document,
)
from gazehound.serve.batching import Ask
from gazehound.serve.engine import Engine
from gazehound.serve.guard import Guard
from gazehound.serve.metrics import CONTENT_TYPE
from gazehound.serve.page_files import INDEX, read_page
from gazehound.serve.problems import Refusal, documented, install
from gazehound.serve.service import Answer, Service
from gazehound.serve.settings import Settings

ROUTES = ("/", "/v1/detect", "/v1/preview", "/v1/model", "/healthz", "/readyz", "/metrics")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    },
    "encoding": {"file": {"contentType": "image/png, image/jpeg"}},
}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PPM or TGA.",
        "content": {
            "multipart/form-data": _FORM,
            "application/octet-stream": _BINARY,
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
        },
    }
}
REFUSALS = documented(400, 408, 413, 415, 422, 500, 503)


def create_app(detector: Detector, header: Header, settings: Settings | None = None) -> FastAPI:
    """Return the application that serves a detector; ``app.state.service`` is its :class:`Service`.

    Args:
        detector: finds the objects.
        header: what its checkpoint says.
        settings: limits and batching.
    """
    settings = settings or Settings()
    service = Service(Engine(detector, header, settings), settings)
    service.metrics.describe(header.detector, __version__)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="gazehound",
        summary=f"Object detection with {header.detector}.",
        version=__version__,
        docs_url=None,  # its pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    install(app, service.metrics.problem)
    _add_detection(app, service)
    _add_operation(app, service)
    _add_page(app)
    pages = [f"/page/{name}" for name in read_page()]
    app.add_middleware(Guard, metrics=service.metrics, paths=[*ROUTES, *pages, "/openapi.json"])
    return app


def _add_detection(app: FastAPI, service: Service) -> None:
    classes = service.engine.detector.classes

    @app.post(
        "/v1/detect",
        openapi_extra=UPLOAD,
        responses={200: {"model": DetectAnswer}, **REFUSALS},
        summary="Detect objects in one image",
    )
    async def detect(
        request: Request,
        score: Annotated[
            float | None,
            Query(
                ge=0,
                le=1,
                allow_inf_nan=False,
                description="Lowest score kept; default: the model's.",
            ),
        ] = None,
        only: Annotated[
            list[str] | None,
            Query(alias="class", description="Only this class, by name; may be given again."),
        ] = None,
        candidates: Annotated[
            bool,
            Query(description="Before non-maximum suppression, where the model's is plain NMS."),
        ] = False,
    ) -> Response:
        labels = _labels(only, classes)
        answer = await service.detect(request, Ask(candidates, score))
        return _detections(service, answer, candidates, labels)

    @app.post(
        "/v1/preview",
        openapi_extra=UPLOAD,
        response_class=JPEGResponse,
        responses=REFUSALS,
        summary="The image as the model sees it: upright, 8-bit RGB",
    )
    async def preview(request: Request) -> Response:
        return JPEGResponse(await service.preview(request))

    @app.get("/v1/model", summary="The model that is served", responses=documented(503))
    async def model() -> ModelAnswer:
        await service.warmed_up()
        return model_document(service.engine)


class JPEGResponse(Response):
    """A picture."""

    media_type = "image/jpeg"


def _add_operation(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the server lives")
    async def health() -> Health:
        return Health(status="alive")

    @app.get("/readyz", summary="Whether requests may be sent here", responses=documented(503))
    async def readiness() -> Health:
        state = service.state()
        if state != "ready":
            raise Refusal(503, "not-ready", "The server is not ready", state, retry_after=1)
        return Health(status=state)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.page(), media_type=CONTENT_TYPE)


def _add_page(app: FastAPI) -> None:
    files = read_page()

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index(request: Request) -> Response:
        return files[INDEX].response(request)

    @app.api_route("/page/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(name: str, request: Request) -> Response:
        if name not in files:
            raise Refusal(404, "not-found", "Not Found", "there is nothing under this name")
        return files[name].response(request)


def _labels(names: list[str] | None, classes: Classes) -> list[int] | None:
    """Return the labels of class names; None: of all."""
    if not names:
        return None
    label_of = classes.label_of_name()
    try:
        return [label_of[name] for name in names]
    except KeyError as missing:
        error: ConfigError = unknown_name("class", missing.args[0][:80], label_of)
        raise Refusal(422, "unknown-class", "Unknown class", str(error)[:500]) from None


def _detections(
    service: Service, answer: Answer, candidates: bool, labels: list[int] | None
) -> Response:
    outcome = answer.outcome
    found: Detections = outcome.found
    if labels is not None:
        found = found.select(np.isin(found.labels, labels))
    suppressed = not (candidates and service.engine.suppression.plain)
    spans = (
        f"decode;dur={1e3 * answer.decoded:.1f}, wait;dur={1e3 * outcome.waited:.1f}, "
        f'model;dur={1e3 * outcome.worked:.1f};desc="batch of {outcome.together}"'
    )
    content = detections_document(service.engine.header.detector, found, suppressed)
    return Response(content, headers={"Server-Timing": spans}, media_type="application/json")
