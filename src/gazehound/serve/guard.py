"""Around every request: security headers, counting, and the last net under an error."""

from __future__ import annotations

import time
from collections.abc import Collection

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gazehound.serve.engine import log
from gazehound.serve.metrics import Metrics
from gazehound.serve.problems import internal_error

# Nothing is loaded from anywhere else, nothing runs that is not a file of ours, nobody frames the page.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob: mediastream:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
HEADERS = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
GONE = 499  # what proxies log for a client that went away before its answer


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        metrics: where requests are counted.
        paths: counted by name; all others together, so that nobody fills memory with made-up ones.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), GONE

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        try:
            await self.app(scope, receive, send_guarded)
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("a request failed")
            if status == GONE:  # nothing has been sent yet
                await internal_error()(scope, receive, send_guarded)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.answered(method, path, status, time.perf_counter() - started)
