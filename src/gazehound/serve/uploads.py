"""From a request to the bytes of one image, never reading more than is allowed."""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message, Receive

from gazehound.serve.problems import Refusal

FRAMING = 64 * 1024  # bytes that boundaries, headers and other fields of a form may add
FIELD = "file"
_FORM = "multipart/form-data"
_RAW = ("", "application/octet-stream")
_HOW = (
    f"send the image as field '{FIELD}' of multipart/form-data, or as the body itself with a content "
    "type of image/... or application/octet-stream"
)


async def read_upload(request: Request, most: int) -> bytes:
    """Return the bytes of the image in a request.

    Args:
        request: a form with a file, or a raw body.
        most: bytes that an image may have.

    Raises:
        Refusal: 400 there is no image, 413 it is too large, 415 the body is of another kind.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    form = kind == _FORM
    if not form and kind not in _RAW and not kind.startswith("image/"):
        raise Refusal(415, "unsupported-media-type", "Unsupported media type", _HOW)
    allowed = most + FRAMING if form else most
    _check_length(request, allowed, most)
    bounded = Request(request.scope, _bounded(request.receive, allowed, most))
    data = await _file_of(bounded) if form else await bounded.body()
    if len(data) > most:
        raise _too_large(most)
    if not data:
        raise Refusal(400, "no-image", "There is no image", f"the body is empty; {_HOW}")
    return data


async def _file_of(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=8, max_part_size=FRAMING) as form:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise Refusal(400, "no-image", "There is no image", f"the form has no file; {_HOW}")
        return await file.read()


def _check_length(request: Request, allowed: int, most: int) -> None:
    """Refuse by the length that the client announces, before anything is read."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > allowed:
        raise _too_large(most)


def _bounded(receive: Receive, allowed: int, most: int) -> Receive:
    """Return ``receive`` that gives up when more has come than is allowed, whatever was announced."""
    read = 0

    async def receive_some() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > allowed:
            raise _too_large(most)
        return message

    return receive_some


def _too_large(most: int) -> Refusal:
    return Refusal(413, "too-large", "The image is too large", f"at most {most} bytes are taken")
