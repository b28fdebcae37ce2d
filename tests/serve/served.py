"""A real server in a thread, on a free port, for as long as a test needs it."""

import contextlib
import threading
import time

import httpx
import uvicorn
from stubs import HEADER

from gazehound.serve.app import create_app
from gazehound.serve.running import listen_at


@contextlib.contextmanager
def server(detector, settings=None, wait=True):
    listener = listen_at("127.0.0.1", 0)
    app = create_app(detector, HEADER, settings)
    running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=20) as client:
            wait_for(lambda: not wait or client.get("/readyz").status_code == 200)
            yield client
    finally:
        running.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not end"


def wait_for(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
