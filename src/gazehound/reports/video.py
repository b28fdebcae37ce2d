"""Write frames to a video file (H.264 in MP4, which every browser plays)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, GazehoundError

CODECS = ("libx264", "h264", "libopenh264", "mpeg4")  # the first that this build of FFmpeg has
TICKS = 90_000  # per second; fine enough for every frame rate


class VideoWriter:
    """A video file that frames are appended to; use it as a context manager.

    The first frame fixes the size. Sides are made even, as the codec demands, by repeating the last
    row or column. The file appears under its name only when it is complete.

    Args:
        path: of the file, ``.mp4``.
        rate: frames per second, for frames without a time of their own.
    """

    def __init__(self, path: str | Path, rate: float = 25.0) -> None:
        self.path = Path(path)
        self.rate = rate if 0 < rate <= 1000 else 25.0
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self._count = 0
        self._last = -1

    def __enter__(self) -> Self:
        return self

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Append a frame (H, W, 3) uint8 RGB.

        Args:
            image: of the size of the first frame.
            time: seconds from the start; default the next by the frame rate.

        Raises:
            ConfigError: the size changed.
            GazehoundError: the file cannot be written.
        """
        import av

        if self._container is None:
            self._open(image.shape[0], image.shape[1])
        if image.shape[:2] != self._size:
            raise ConfigError(
                f"{self.path}: frames of a video must have one size; the first is {self._size}, "
                f"frame {self._count} is {image.shape[:2]}"
            )
        even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        seconds = self._count / self.rate if time is None else time
        self._last = frame.pts = max(self._last + 1, round(seconds * TICKS))
        frame.time_base = Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))
        self._count += 1

    def _open(self, height: int, width: int) -> None:
        import av

        codec = next((name for name in CODECS if _has(name)), None)
        if codec is None:
            raise GazehoundError(f"{self.path}: no video encoder here (looked for {CODECS})")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._part), "w", format="mp4")
            self._stream = self._container.add_stream(
                codec, rate=Fraction(self.rate).limit_denominator(1001)
            )
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = Fraction(1, TICKS)
            if codec == "libx264":
                self._stream.options = {"crf": "20", "preset": "veryfast"}
        except (av.FFmpegError, OSError) as error:
            raise GazehoundError(f"{self.path}: cannot be written ({error.strerror})") from None
        self._size = (height, width)

    def close(self) -> None:
        """Finish the file. Nothing is written when there was no frame."""
        if self._container is None:
            return
        self._container.mux(self._stream.encode())
        self._container.close()
        self._container = None
        self._part.replace(self.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _has(codec: str) -> bool:
    import av

    try:
        av.codec.Codec(codec, "w")
    except (av.FFmpegError, ValueError):
        return False
    return True
