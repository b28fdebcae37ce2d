"""Proposals that are computed once: kept in memory, written to a file, read from one.

A picture is known by its pixels, not by its name, so the same file serves training, validation and
prediction, and proposals of another method can be put in. A picture and its mirror image share one
entry: with left-right flips as the only augmentation everything is found again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, DataError
from gazehound.records import FloatArray

DIGEST = 16  # bytes
KEPT = 8192  # pictures; 2,000 boxes each are 32 KB


class ProposalStore:
    """A ``Proposer`` that remembers what another one proposed.

    Args:
        proposer: whom to ask about pictures that are not known; ``None``: nobody, and an unknown picture
            is an error.
        file: read at the first question, if given; see :meth:`save`.
        kept: pictures remembered; those not asked about for longest go first.

    Raises:
        ConfigError: there is neither a proposer nor a file, or nothing may be kept.
    """

    def __init__(
        self, proposer: Any = None, file: str | Path | None = None, *, kept: int = KEPT
    ) -> None:
        if proposer is None and file is None:
            raise ConfigError("a store of proposals needs a proposer or a file")
        if kept < 1:
            raise ConfigError(f"kept must be at least 1; got {kept}")
        self.proposer, self.file, self.kept = proposer, file, kept
        self._boxes: OrderedDict[bytes, FloatArray] = OrderedDict()
        self._read = file is None

    def __len__(self) -> int:
        return len(self._boxes)

    def propose(self, image: NDArray[np.uint8], limit: int = 2000) -> FloatArray:
        """Return boxes (N, 4) of an image, best first; computed where they are not known.

        What is known was computed for the ``limit`` of the first question; keep to one.

        Raises:
            DataError: the picture is not in the file and there is no proposer.
        """
        self._read_file()
        key, mirrored = picture_key(image)
        boxes = self._boxes.get(key)
        if boxes is None:
            boxes = self._ask(image, mirrored, limit)
            self._boxes[key] = boxes
        self._boxes.move_to_end(key)
        while len(self._boxes) > self.kept:
            self._boxes.popitem(last=False)
        return _mirror(boxes[:limit], image.shape[1]) if mirrored else boxes[:limit].copy()

    def _ask(self, image: NDArray[np.uint8], mirrored: bool, limit: int) -> FloatArray:
        """Ask about the picture in the orientation it is known by, so both give the same boxes."""
        if self.proposer is None:
            height, width = image.shape[:2]
            raise DataError(
                f"{self.file}: holds no proposals for this picture of {width} x {height} pixels; "
                "give a proposer for pictures that are not in the file, or add them to it"
            )
        known_as = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
        boxes: FloatArray = self.proposer.propose(known_as, limit)
        return boxes

    def add(self, image: NDArray[np.uint8], boxes: FloatArray) -> None:
        """Put in the proposals (N, 4) of an image, best first: those of another method, say.

        Args:
            image: (H, W, 3) uint8 RGB, at the size that it will be asked about.
            boxes: ``xyxy``, pixels of that image.
        """
        self._read_file()
        key, mirrored = picture_key(image)
        rows = np.asarray(boxes, np.float32).reshape(-1, 4)
        self._boxes[key] = _mirror(rows, image.shape[1]) if mirrored else rows.copy()

    def save(self, file: str | Path) -> None:
        """Write everything that is known to an ``.npz`` file."""
        self._read_file()
        counts = [len(boxes) for boxes in self._boxes.values()]
        keys = b"".join(self._boxes)
        np.savez_compressed(
            file,
            keys=np.frombuffer(keys, np.uint8).reshape(-1, DIGEST),
            starts=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            boxes=np.concatenate([*self._boxes.values(), np.zeros((0, 4), np.float32)]),
        )

    def _read_file(self) -> None:
        if self._read or self.file is None:
            return
        try:
            with np.load(self.file, allow_pickle=False) as content:
                keys, starts, boxes = (content[name] for name in ("keys", "starts", "boxes"))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{self.file}: not a file of proposals ({error})") from None
        if keys.shape != (len(starts) - 1, DIGEST) or boxes.shape != (starts[-1], 4):
            raise DataError(
                f"{self.file}: {len(keys)} pictures, {len(starts) - 1} lists of boxes and "
                f"{len(boxes)} boxes do not belong together"
            )
        for row, key in enumerate(keys):
            self._boxes[key.tobytes()] = boxes[starts[row] : starts[row + 1]].astype(np.float32)
        self.kept = max(self.kept, len(keys))
        self._read = True


def picture_key(image: NDArray[np.uint8]) -> tuple[bytes, bool]:
    """Return what a picture (H, W, 3) is known by, and whether it is known by its mirror image."""
    keys = [_digest(side) for side in (image, image[:, ::-1])]
    return min(keys), keys[1] < keys[0]


def _digest(image: NDArray[np.uint8]) -> bytes:
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=DIGEST)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def _mirror(boxes: FloatArray, width: int) -> FloatArray:
    mirrored = boxes.copy()
    mirrored[:, 0], mirrored[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
    return mirrored
