"""Every error as one small JSON document (RFC 9457); never a path, a traceback or an input echoed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gazehound.errors import ImageError, ImageTooLarge

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """An error document of RFC 9457."""

    type: str = Field(description="What went wrong, for programs: urn:gazehound:...")
    title: str = Field(description="What went wrong, for people.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What was required, and what came.")


class Refusal(Exception):
    """A request that cannot be answered.

    Args:
        status: HTTP status.
        kind: the last word of the problem's type, ``queue-full``.
        title: what went wrong.
        detail: what was required and what came, in one line.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(
        self, status: int, kind: str, title: str, detail: str, retry_after: int | None = None
    ) -> None:
        super().__init__(title)
        self.status, self.kind, self.title, self.detail = status, kind, title, detail
        self.retry_after = retry_after

    def response(self) -> Response:
        """Return the answer that is sent."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return problem(self.status, self.kind, self.title, self.detail, headers)


def problem(
    status: int, kind: str, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a problem document as a response."""
    document = Problem(type=f"urn:gazehound:{kind}", title=title, status=status, detail=detail)
    return Response(document.model_dump_json(), status, dict(headers or {}), MEDIA_TYPE)


def internal_error() -> Response:
    """Return what a client learns of a fault of ours: nothing but that it is one."""
    return problem(
        500, "internal", "Internal error", "The server failed on this request; its log says why."
    )


def refusal_of(error: Exception) -> Refusal | None:
    """Return what a client is told of an error of the detector or the reader; None: an internal one."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ImageTooLarge):
        return Refusal(413, "too-many-pixels", "The image has too many pixels", str(error))
    if isinstance(error, ImageError):
        return Refusal(422, "unreadable-image", "The image cannot be read", str(error))
    return None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route for OpenAPI: problem documents for these statuses."""
    schema = Problem.model_json_schema()
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def install(app: FastAPI, count: Callable[[str], None]) -> None:
    """Make the application answer every error with a problem document.

    Args:
        app: the application.
        count: is told the kind of every problem.
    """

    async def refused(_: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        assert refusal is not None
        count(refusal.kind)
        return refusal.response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        count("invalid-parameter")
        faults = [
            f"{' '.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()[:5]
        ]
        return problem(422, "invalid-parameter", "A parameter is invalid", "; ".join(faults))

    async def other(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        kind = status.phrase.lower().replace(" ", "-")
        count(kind)
        said = str(error.detail) if status == HTTPStatus.BAD_REQUEST else status.description
        return problem(status, kind, status.phrase, said or status.phrase, error.headers)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(ImageError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, other)
