"""Follow objects through a film: ByteTrack (Zhang et al. 2022).

Detections of high score are matched first with the tracks where a Kalman filter expects them; those of
low score, which may be a hidden or blurred object, only continue tracks that are still without one. A
track that loses its object waits for it. Unlike the published code, a track keeps to one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gazehound.boxes.iou import pairwise
from gazehound.errors import ConfigError
from gazehound.features import kalman
from gazehound.records import TRACK, UNTRACKED, Detections

LOW_DISTANCE = 0.5  # 1 - IoU up to which a detection of low score continues a track
NEW_DISTANCE = 0.7  # likewise, times the score: a track's second detection, which confirms it
SAME_DISTANCE = 0.15  # two tracks that lie nearer are one


@dataclass
class _Track:
    """One object.

    Attributes:
        mean: (8,) state of its filter.
        covariance: (8, 8) of it.
        label: its class.
        first: frame of its first detection.
        last: frame of its last one.
        number: its public id; 0 until a second detection confirms it.
        lost: whether the last frame did not show it.
    """

    mean: kalman.Floats
    covariance: kalman.Floats
    label: int
    first: int
    last: int
    number: int = 0
    lost: bool = False


class Tracker:
    """Gives the objects of one film ids that stay with them. Use a new one for each film.

    Args:
        high: detections from this score on are matched first.
        low: detections below this score are left alone; those between continue a track at most.
        new: the score that begins a track; default a tenth above ``high``.
        buffer: frames that a lost object is waited for.
        match: largest distance 1 - IoU * score of the first matching, 0..1.

    Raises:
        ConfigError: a value is out of its range.
    """

    def __init__(
        self,
        high: float = 0.5,
        low: float = 0.1,
        new: float | None = None,
        buffer: int = 30,
        match: float = 0.8,
    ) -> None:
        if not 0 <= low <= high <= 1 or buffer < 0 or not 0 <= match <= 1:
            raise ConfigError(
                "tracking needs 0 <= low <= high <= 1, a buffer from 0 on and match in 0..1; got "
                f"low {low}, high {high}, buffer {buffer}, match {match}"
            )
        self.high, self.low, self.match, self.buffer = high, low, match, buffer
        self.new = min(high + 0.1, 1.0) if new is None else new
        self._tracks: list[_Track] = []
        self._frame = 0
        self._numbers = 0

    def update(self, found: Detections) -> Detections:
        """Take the detections of the next frame.

        Returns:
            The same detections with ``track_id`` in their extras: from 1, or -1 where a detection
            belongs to no track (yet).
        """
        self._frame += 1
        taken = np.full(len(found), UNTRACKED, np.int64)  # row of the track that has it
        high = np.nonzero(found.scores >= self.high)[0]
        low = np.nonzero((found.scores >= self.low) & (found.scores < self.high))[0]
        self._move()
        known = [k for k, track in enumerate(self._tracks) if track.number]
        self._assign(known, high, found, taken, self.match, fused=True)
        seen = set(taken.tolist())
        rest = [k for k in known if k not in seen and not self._tracks[k].lost]
        self._assign(rest, low, found, taken, LOW_DISTANCE, fused=False)
        fresh = [k for k, track in enumerate(self._tracks) if not track.number]
        left = high[taken[high] == UNTRACKED]
        self._assign(fresh, left, found, taken, NEW_DISTANCE, fused=True)
        self._correct(found, taken)
        self._begin(found, high[taken[high] == UNTRACKED], taken)
        numbers = np.array([track.number for track in self._tracks], np.int64)
        ids = np.where(taken == UNTRACKED, UNTRACKED, numbers[taken] if len(numbers) else UNTRACKED)
        self._forget(set(taken.tolist()))
        extras: dict[str, NDArray[Any]] = {
            **found.extras,
            TRACK: np.where(ids == 0, UNTRACKED, ids),
        }
        return replace(found, extras=extras)

    def _move(self) -> None:
        """Move the filters of confirmed tracks one frame on; a lost one's height stays."""
        moving = [track for track in self._tracks if track.number]
        if not moving:
            return
        means = np.stack([track.mean for track in moving])
        means[[track.lost for track in moving], 7] = 0
        means, covariances = kalman.predict(means, np.stack([t.covariance for t in moving]))
        for track, mean, covariance in zip(moving, means, covariances, strict=True):
            track.mean, track.covariance = mean, covariance

    def _assign(
        self,
        tracks: Sequence[int],
        rows: NDArray[np.int64],
        found: Detections,
        taken: NDArray[np.int64],
        limit: float,
        *,
        fused: bool,
    ) -> None:
        """Match tracks with detections at the lowest total distance, and note it in ``taken``."""
        if not tracks or not len(rows):
            return
        chosen = [self._tracks[k] for k in tracks]
        overlap = pairwise(kalman.boxes_of(np.stack([t.mean for t in chosen])), found.boxes[rows])
        distance = 1 - (overlap * found.scores[rows] if fused else overlap)
        other = np.array([t.label for t in chosen])[:, None] != found.labels[rows][None]
        distance = np.where(other | (distance > limit), limit + 1e-4, distance)
        for t, d in zip(*linear_sum_assignment(distance), strict=True):
            if distance[t, d] <= limit:
                taken[rows[d]] = tracks[t]

    def _correct(self, found: Detections, taken: NDArray[np.int64]) -> None:
        """Let every track that has a detection learn from it."""
        rows = np.nonzero(taken != UNTRACKED)[0]
        if not len(rows):
            return
        tracks = [self._tracks[k] for k in taken[rows]]
        means, covariances = kalman.update(
            np.stack([track.mean for track in tracks]),
            np.stack([track.covariance for track in tracks]),
            kalman.measured(found.boxes[rows]),
        )
        for track, mean, covariance in zip(tracks, means, covariances, strict=True):
            track.mean, track.covariance = mean, covariance
            track.last, track.lost = self._frame, False
            track.number = track.number or self._next()

    def _begin(self, found: Detections, rows: NDArray[np.int64], taken: NDArray[np.int64]) -> None:
        """Begin a track for every good detection that has none; at once confirmed in the first frame."""
        rows = rows[found.scores[rows] >= self.new]
        means, covariances = kalman.begin(kalman.measured(found.boxes[rows]))
        for row, mean, covariance in zip(rows, means, covariances, strict=True):
            number = self._next() if self._frame == 1 else 0
            taken[row] = len(self._tracks)
            label = int(found.labels[row])
            self._tracks.append(_Track(mean, covariance, label, self._frame, self._frame, number))

    def _forget(self, seen: set[int]) -> None:
        """Drop tracks that nothing confirmed, that waited too long, and that follow another's object."""
        kept = []
        for k, track in enumerate(self._tracks):
            track.lost = k not in seen
            if not track.lost or (track.number and self._frame - track.last <= self.buffer):
                kept.append(track)
        self._tracks = _without_doubles(kept)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def _without_doubles(tracks: list[_Track]) -> list[_Track]:
    """Of a followed and a lost track at one place, keep the one that was followed longer."""
    followed = [k for k, track in enumerate(tracks) if not track.lost and track.number]
    lost = [k for k, track in enumerate(tracks) if track.lost]
    if not followed or not lost:
        return tracks
    boxes = kalman.boxes_of(np.stack([track.mean for track in tracks]))
    near = 1 - pairwise(boxes[followed], boxes[lost]) < SAME_DISTANCE
    dropped = set()
    for f, g in zip(*np.nonzero(near), strict=True):
        one, other = tracks[followed[f]], tracks[lost[g]]
        if one.label == other.label:
            longer = one.last - one.first > other.last - other.first
            dropped.add(lost[g] if longer else followed[f])
    return [track for k, track in enumerate(tracks) if k not in dropped]
