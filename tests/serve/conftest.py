"""Servers for the tests of this folder."""

import contextlib

import pytest
from served import server


@pytest.fixture
def serve():
    """Start a server: ``client = serve(detector, settings)``; it ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(server(*arguments))


@pytest.fixture(scope="module")
def shared():
    """The same, for all tests of a module."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(server(*arguments))
