"""Packages that only export needs: imported when asked for, with one line when they are missing."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from gazehound.errors import MissingDependency


def need(package: str, purpose: str) -> Any:
    """Import and return an optional package (a dotted name for one of its modules).

    Raises:
        MissingDependency: it is not installed; names the extra that installs it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of their own deprecations, which no user can mend
            return import_module(package)
    except ImportError:
        raise MissingDependency(package.split(".")[0], purpose, "export") from None
