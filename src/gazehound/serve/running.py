"""Run a server in this process until it is told to end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from gazehound.errors import ConfigError, GazehoundError, MissingDependency

if TYPE_CHECKING:
    from gazehound.checkpoints.native import Header
    from gazehound.detectors.detector import Detector
    from gazehound.serve.settings import Settings

GRACE = (
    5  # seconds beyond the time limit of a request that an ending server waits for the last ones
)
BACKLOG = 1024  # connections that the system keeps while they are not yet accepted


def need_packages() -> None:
    """Raise MissingDependency where the extra ``serve`` is not installed."""
    for package in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
        try:
            __import__(package)
        except ImportError:
            raise MissingDependency("gazehound[serve]", "serving") from None


def run(
    detector: Detector,
    header: Header,
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    log_level: str = "warning",
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are in work then still get their answers.

    Args:
        detector: finds the objects.
        header: what its checkpoint says.
        settings: limits and batching.
        host: address to listen at.
        port: 0 takes any free one.
        log_level: of uvicorn; ``info`` logs every request.
        started: is told the address when the server listens.

    Raises:
        ConfigError: the address cannot be had.
        MissingDependency: the extra ``serve`` is not installed.
        GazehoundError: the model fails on its first picture.
    """
    need_packages()
    import prometheus_client
    import uvicorn

    from gazehound.serve.app import create_app

    prometheus_client.disable_created_metrics()  # a time stamp beside each number helps nobody
    listener = listen_at(host, port)
    app = create_app(detector, header, settings)
    config = uvicorn.Config(
        app, log_level=log_level, access_log=log_level == "info", server_header=False,
        timeout_graceful_shutdown=int(2 * settings.seconds) + GRACE, lifespan="on", ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    service = app.state.service
    service.on_failure = lambda: setattr(server, "should_exit", True)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        started(_address(host, listener))
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # the server has ended in order, and passes on what it was sent
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        listener.close()
    if service.failure is not None:
        raise GazehoundError(f"the model failed on its first picture: {service.failure}")


def _leave(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def listen_at(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any free one.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(socket.socket(family, kind, protocol), address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen at {host}, port {port}: {reason}") from None


def _bound(listener: socket.socket, address: Any) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _address(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
