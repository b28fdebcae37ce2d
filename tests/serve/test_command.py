"""``gazehound serve`` as its user meets it: one line for everything that hinders it."""

import importlib.util
import socket
import sys

import pytest
from stubs import HEADER, ColourDetector

from gazehound.cli import main
from gazehound.errors import ConfigError, GazehoundError
from gazehound.serve import running
from gazehound.serve.settings import Settings


@pytest.fixture
def told(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gazehound", "serve", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code
        return capsys.readouterr().err.strip()

    return call


def test_a_taken_port(told):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = told("viola-jones-face", "--port", port)
    assert line.startswith(f"gazehound: cannot listen at 127.0.0.1, port {port}: ")
    assert "\n" not in line


def test_an_unknown_host(told):
    assert told("viola-jones-face", "--host", "no.such.host.invalid").count("\n") == 0


def test_an_unknown_model(told):
    assert told("viola-jones-fase").startswith("gazehound: unknown model 'viola-jones-fase'; did")


def test_a_missing_package(told, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    line = told("viola-jones-face")
    assert line == (
        "gazehound: serving needs the package 'gazehound[serve]': pip install gazehound[serve]"
    )


def test_options_reach_the_server(monkeypatch):
    seen = {}
    monkeypatch.setattr(running, "run", lambda *a, **k: seen.update(settings=a[2], **k))
    words = (
        "gazehound serve viola-jones-face --host ::1 --port 0 --batch 4 --wait 2 --queue 9 "
        "--time-limit 3 --upload-limit 0.5 --pixel-limit 2 --score 0.6 --log-level info"
    )
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert seen["settings"] == Settings(
        batch=4, wait=0.002, queue=9, seconds=3.0, upload_bytes=2**19, pixels=2_000_000,
        start_score=0.6,
    )  # fmt: skip
    assert (seen["host"], seen["port"], seen["log_level"]) == ("::1", 0, "info")


def test_a_model_that_cannot_detect_at_all_ends_the_server():
    class Broken(ColourDetector):
        def predict(self, images, *, score=None):
            raise ConfigError("this detector has no cascade yet")

    with pytest.raises(GazehoundError, match="failed on its first picture: this detector has no"):
        running.run(Broken(), HEADER, Settings(), port=0, log_level="critical")


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"seconds": 0}, {"wait": -1}, {"start_score": 2}, {"queue": 0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must|{next(iter(wrong))} not"):
        Settings(**wrong)


def test_help_needs_nothing_of_the_extra():
    assert importlib.util.find_spec("fastapi")
    from gazehound.cli import serve

    assert not {"uvicorn", "fastapi", "prometheus_client"} & set(vars(serve))
