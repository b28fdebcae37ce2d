"""The command line. Only Typer is imported at the start; every command imports its own work."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; a GazehoundError becomes one line on stderr and exit code 1."""
    from gazehound.cli.app import app
    from gazehound.errors import GazehoundError

    try:
        app(prog_name="gazehound")
    except GazehoundError as error:
        if os.environ.get("GAZEHOUND_DEBUG"):
            raise
        rank = os.environ.get("RANK", "0")  # of several processes that train together
        who = "gazehound" if rank == "0" else f"gazehound (process {rank})"
        print(f"{who}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("gazehound: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
