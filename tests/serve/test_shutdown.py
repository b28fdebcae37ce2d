"""A server that is told to end finishes what it has begun."""

import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from stubs import plain, png

SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from stubs import HEADER, MoodyDetector
from gazehound.serve.running import run
from gazehound.serve.settings import Settings
def started(url):
    print(url, "torch" in sys.modules, flush=True)
run(MoodyDetector(seconds=1.0), HEADER, Settings(), port=0, started=started)
"""


@pytest.fixture
def process():
    command = [sys.executable, "-c", SERVER, str(Path(__file__).parent)]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    yield started
    started.kill()
    started.communicate()


def test_requests_in_work_are_finished(process):
    url, torch_is_loaded = process.stdout.readline().split()
    assert torch_is_loaded == "False"  # a classical detector needs none to be served
    host, port = url.removeprefix("http://").split(":")
    slow, watch = (http.client.HTTPConnection(host, int(port), timeout=30) for _ in range(2))
    slow.request("POST", "/v1/detect", png(plain((0, 255, 0))))
    while True:  # until the request is in work
        watch.request("GET", "/metrics")
        text = watch.getresponse().read().decode()
        if "gazehound_requests_in_work 1.0" in text:
            break
    process.send_signal(signal.SIGTERM)
    answer = slow.getresponse()
    assert answer.status == 200
    assert b'"box":[0.0,255.0,' in answer.read()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
    slow.close()
    watch.close()
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), 2)
