"""The descriptor of Dalal & Triggs, *Histograms of Oriented Gradients for Human Detection* (2005).

Square roots of the grey values, [-1, 0, 1] gradients of the strongest colour channel, votes by
magnitude into 9 unsigned orientations (sections 6.2-6.3), cells of 8 x 8 pixels in overlapping
blocks of 2 x 2 cells under a Gaussian window, L2-Hys normalisation of each block (section 6.4).

``vote="trilinear"`` is the descriptor of OpenCV's ``HOGDescriptor``, number for number: votes are
shared between neighbouring orientations and cells. ``vote="plain"`` is that of scikit-image's
``hog``: each pixel votes for its own orientation and cell alone, and there is no Gaussian window.
Both mirror the border, which makes the gradient across it zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, unknown_name
from gazehound.features.pyramid import byte_planes
from gazehound.kernels.hog import Rule, block_grid
from gazehound.records import FloatArray

Vote = Literal["trilinear", "plain"]

# (a, b) of the two normalisations: |v| counts as sqrt(|v|^2 + a) + b. OpenCV adds 0.1 per number
# of the block to the first length.
_PER_NUMBER = 0.1
_SECOND = (0.0, 1e-3)
_PLAIN_REGULARISER = (1e-10, 0.0)  # scikit-image: epsilon 1e-5, squared, in both


@dataclass(frozen=True)
class Hog:
    """The choices of a HOG descriptor; the defaults are the paper's, in OpenCV's dialect.

    Attributes:
        cell: side of a cell, pixels.
        block: cells along the side of a block.
        stride: pixels between neighbouring blocks.
        bins: orientation bins.
        signed: bins cover 360 degrees instead of 180.
        gamma: take square roots of the grey values.
        sigma: of the Gaussian block window, pixels; None: a quarter of the block's side.
        clip: the clipping value of L2-Hys.
        vote: ``trilinear`` or ``plain``; see the module.

    Raises:
        ConfigError: a value is out of its range.
    """

    cell: int = 8
    block: int = 2
    stride: int = 8
    bins: int = 9
    signed: bool = False
    gamma: bool = True
    sigma: float | None = None
    clip: float = 0.2
    vote: Vote = "trilinear"

    def __post_init__(self) -> None:
        for name in ("cell", "block", "stride", "bins"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"hog: {name} must be at least 1; got {value}")
        if self.vote not in ("trilinear", "plain"):
            raise unknown_name("vote of hog", self.vote, ("trilinear", "plain"))
        if self.sigma is not None and self.sigma <= 0:
            raise ConfigError(f"hog: sigma must be above 0; got {self.sigma}")
        if not 0 < self.clip <= 1:
            raise ConfigError(f"hog: clip must be above 0 and at most 1; got {self.clip}")

    @property
    def side(self) -> int:
        """Return the side of a block, pixels."""
        return self.cell * self.block

    @property
    def length(self) -> int:
        """Return the numbers per block."""
        return self.block * self.block * self.bins

    def blocks(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (rows, columns) of the blocks inside a window or image of (height, width)."""
        rows, columns = (
            (side - self.side) // self.stride + 1 if side >= self.side else 0 for side in size
        )
        return rows, columns

    def cell_factors(self) -> FloatArray:
        """Return (block, side): what a pixel column of a block gives to each of its cell columns.

        The block window and the vote are products of such a factor for columns and one for rows.
        """
        pixel = np.arange(self.side)
        cells = np.arange(self.block)[:, None]
        if self.vote == "plain":
            return np.asarray((pixel // self.cell == cells) / self.cell, np.float32)  # a mean
        tent = np.maximum(1 - abs((pixel + 0.5) / self.cell - 0.5 - cells), 0)
        sigma = self.side / 4 if self.sigma is None else self.sigma
        # centred on pixel side / 2, as in OpenCV, and not between the two middle ones
        window = np.exp(-((pixel - self.side / 2) ** 2) / (2 * sigma**2))
        return np.asarray(tent * window, np.float32)

    def grid(
        self,
        planes: NDArray[np.uint8],
        size: tuple[int, int] | None = None,
        pad: tuple[int, int] = (0, 0),
        origin: tuple[int, int] = (0, 0),
    ) -> FloatArray:
        """Return all normalised blocks of an image.

        Args:
            planes: (C, H, W) uint8; see ``byte_planes``.
            size: (height, width) to resize the image to first.
            pad: (rows, columns) of mirrored pixels around it.
            origin: (y, x) of the first block in the padded image.

        Returns:
            (block rows, block columns, length); a block runs over cells x, then y, then bins.
        """
        factors = self.cell_factors()
        plain = self.vote == "plain"
        rule = Rule(
            self.bins,
            self.signed,
            self.gamma,
            not plain,
            self.clip,
            _PLAIN_REGULARISER if plain else (0.0, _PER_NUMBER * self.length),
            _PLAIN_REGULARISER if plain else _SECOND,
        )
        height, width = planes.shape[1:] if size is None else size
        grid: FloatArray = block_grid(
            planes, (int(height), int(width)), factors, factors, self.stride, pad, origin, rule
        )
        return grid


def hog(image: NDArray[Any], parameters: Hog | None = None) -> FloatArray:
    """Return the HOG of an image, (block rows, block columns, cells y, cells x, bins) float32.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3) RGB; uint8 or uint16.
        parameters: the descriptor; None: the paper's.

    Raises:
        ImageError: the image has another shape or type, or no pixels.
    """
    parameters = parameters or Hog()
    grid = parameters.grid(byte_planes(image))
    side = parameters.block
    blocks = grid.reshape(*grid.shape[:2], side, side, parameters.bins)
    return blocks.transpose(0, 1, 3, 2, 4)


def window_descriptors(
    grid: FloatArray, window: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> FloatArray:
    """Return the descriptors of all windows of a block grid, in OpenCV's layout.

    Args:
        grid: (block rows, block columns, D) of ``Hog.grid``.
        window: (rows, columns) of blocks in a window.
        stride: blocks between windows, (y, x).

    Returns:
        (window rows, window columns, columns * rows * D): blocks column by column.
    """
    views = np.lib.stride_tricks.sliding_window_view(grid, window, axis=(0, 1))
    windows = views[:: stride[0], :: stride[1]]  # rows, columns, D, window rows, window columns
    ordered = windows.transpose(0, 1, 4, 3, 2)
    return np.ascontiguousarray(ordered).reshape(*windows.shape[:2], -1)


def weights_from_opencv(vector: FloatArray, window: tuple[int, int], length: int) -> FloatArray:
    """Turn a linear vector in OpenCV's layout into a filter (rows, columns, length)."""
    rows, columns = window
    return np.ascontiguousarray(vector.reshape(columns, rows, length).transpose(1, 0, 2))


def weights_to_opencv(weights: FloatArray) -> FloatArray:
    """Turn a filter (rows, columns, length) into a linear vector in OpenCV's layout."""
    return np.ascontiguousarray(weights.transpose(1, 0, 2)).reshape(-1)
