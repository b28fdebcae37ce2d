"""Download one file over HTTP: resumed where it broke off, checked by its hash, whole or not at all.

What has come so far lies beside the target as ``NAME.part``; a later call asks the server for the rest
(``Range``) and starts anew where the server cannot do that. The file takes its name only when its hash
is right; a part with a wrong hash is removed, since nobody can tell which of its bytes are good.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from gazehound import __version__
from gazehound.errors import CheckpointError

CHUNK = 1 << 18  # bytes
GONE = (401, 403, 404, 410)  # asking again does not help, another address may
Report = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes in all, if known."""


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to ask.

    Attributes:
        timeout: seconds without a byte after which a connection counts as broken.
        attempts: tries in a row that may bring nothing; one that brings bytes starts the count anew.
        pause: seconds before the second try, doubled for each further one.
    """

    timeout: float = 30.0
    attempts: int = 4
    pause: float = 1.0


class _Broken(Exception):
    """The connection broke; asking again may help."""


class _Refused(Exception):
    """This address does not give the file, or there is no way to it."""


def download(
    urls: Sequence[str],
    target: Path,
    digest: str,
    report: Report | None = None,
    patience: Patience | None = None,
) -> str:
    """Bring a file here.

    Args:
        urls: addresses of the same file, ``http`` or ``https``; a further one is asked when one before
            it does not give the file.
        target: where it goes.
        digest: ``sha256:``, ``sha1:`` or ``md5:`` and the hash or its beginning; empty: not checked.
        report: told of the progress.
        patience: waiting times.

    Returns:
        The file's whole SHA-256, in hexadecimal.

    Raises:
        CheckpointError: it cannot be had, or it is not the file that was meant; the message says for
            each address why.
    """
    part = target.with_name(f"{target.name}.part")
    faults = []
    for url in urls:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _get(url, part, report or (lambda here, total: None), patience or Patience())
            check(part, digest, url)
            sha256 = hash_of(part, "sha256")
            part.replace(target)
            return sha256
        except (_Refused, _Broken) as error:
            faults.append(f"{url}: {error}")
        except CheckpointError as error:  # not the file that was meant
            part.unlink()
            faults.append(str(error))
        except OSError as error:
            raise CheckpointError(f"{part}: cannot be written ({error.strerror})") from None
    raise CheckpointError("; ".join(faults))


def check(file: Path, digest: str, origin: str = "") -> None:
    """Compare a file with its published hash.

    Raises:
        CheckpointError: it is another file.
    """
    kind, _, wanted = digest.partition(":")
    found = hash_of(file, kind) if digest else ""
    if not found.startswith(wanted.lower()):
        raise CheckpointError(
            f"{origin or file}: not the published file: its {kind} should begin with {wanted}, "
            f"but is {found}"
        )


def hash_of(file: Path, kind: str) -> str:
    """Return the hash of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(
            stream, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


def _get(url: str, part: Path, report: Report, patience: Patience) -> None:
    """Fetch ``url`` into ``part``, as often as it takes."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise _Refused("not an http or https address")
    idle = 0
    while True:
        before = _size(part)
        try:
            _get_once(url, part, report, patience.timeout)
            return
        except _Broken:
            idle = 0 if _size(part) > before else idle + 1
            if idle >= patience.attempts:
                raise
            time.sleep(patience.pause * 2**idle / 2 if idle else 0)


def _get_once(url: str, part: Path, report: Report, timeout: float) -> None:
    """Ask for what is missing and append it.

    Raises:
        _Broken, _Refused: it did not all come, and why.
    """
    have = _size(part)
    try:
        with _ask(url, have, timeout) as answer:
            if answer.status != 206:
                have = 0
            elif _first_byte(answer.headers) != have:
                part.unlink()
                raise _Broken("the server sent another part of the file than it was asked for")
            if answer.headers.get_content_type() == "text/html":
                raise _Refused("gives a web page instead of the file")
            total = _total(answer.headers, have)
            _take(answer, part, have, total, report, timeout)
    except urllib.error.HTTPError as error:
        _explain_status(error, part, have)
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Broken(_reason(error, timeout)) from None
    except urllib.error.URLError as error:
        _explain_way(error, timeout)


def _ask(url: str, have: int, timeout: float) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": f"gazehound/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    return urllib.request.urlopen(request, timeout=timeout)


def _take(
    answer: Any, part: Path, have: int, total: int | None, report: Report, timeout: float
) -> None:
    with part.open("ab" if have else "wb") as stream:
        report(have, total)
        for chunk in _chunks(answer, timeout):
            stream.write(chunk)
            have += len(chunk)
            report(have, total)
    if total is not None and have < total:
        raise _Broken(f"broke off after {have} of {total} bytes")


def _chunks(answer: Any, timeout: float) -> Iterator[bytes]:
    """Yield what comes as it comes: what was here before a connection broke is kept."""
    while True:
        try:
            chunk = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(_reason(error, timeout)) from None
        if not chunk:
            return
        yield chunk


def _explain_status(error: urllib.error.HTTPError, part: Path, have: int) -> None:
    """Say what a status means; return where it means that everything is there."""
    if error.code == 416:  # nothing lies behind what is here
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if total and int(total[1]) == have:
            return
        part.unlink(missing_ok=True)
        raise _Broken("the part that was here does not belong to the server's file") from None
    if error.code in GONE:
        raise _Refused(f"the server answers {error.code} {error.reason}") from None
    raise _Broken(f"the server answers {error.code} {error.reason}") from None


def _explain_way(error: urllib.error.URLError, timeout: float) -> None:
    """Tell a way that is broken just now from one that does not exist."""
    reason = error.reason
    if isinstance(reason, TimeoutError | ConnectionResetError):
        raise _Broken(_reason(reason, timeout)) from None
    if isinstance(reason, socket.gaierror):
        raise _Refused(f"no network here, or no such machine ({reason.strerror})") from None
    raise _Refused(f"cannot be reached ({getattr(reason, 'strerror', None) or reason})") from None


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no byte came for {timeout:g} seconds"
    return f"the connection broke ({getattr(error, 'strerror', None) or type(error).__name__})"


def _first_byte(headers: Message) -> int | None:
    given = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(given[1]) if given else None


def _total(headers: Message, have: int) -> int | None:
    """Return the size of the whole file, if the server says it."""
    length = headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
