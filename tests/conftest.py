"""Fixtures for all tests; shape annotations of ``gazehound.nn`` are checked while they run."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ["GAZEHOUND_OFFLINE"] = "1"  # no test asks the network for weights
install_import_hook(["gazehound.nn", "gazehound.boxes"], "beartype.beartype")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, which is not part of the project; skips where it is absent."""
    default = Path(__file__).parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("GAZEHOUND_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real data here (set GAZEHOUND_TEST_DATA)")
    return folder
