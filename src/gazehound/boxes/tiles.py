"""Cut a large image into overlapping tiles, and merge what was found in them.

An object at a tile's border is seen in part. Three rules make one box of what several tiles saw:

- pieces of one object: two boxes, each cut by its tile's border, that agree where both tiles look are
  joined to the box around both, with the better score (objects larger than the overlap);
- whole before cut: a box that touches no inner border is taken before one that does, and drops cut
  ones of other tiles that lie mostly inside it;
- then class-aware non-maximum suppression, by score, between boxes of different tiles. What one tile
  holds was suppressed by the detector itself, as it thinks right.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import iou
from gazehound.errors import ConfigError
from gazehound.kernels.tiles import suppress_across

NEAR = 0.01  # of a tile's side, at least one pixel: so close to a border a box counts as cut by it
SEVERAL = -1  # in place of a tile's number: joined from pieces of several


def tile_grid(size: tuple[int, int], tile: int, overlap: float) -> NDArray[np.int64]:
    """Cover an image with tiles, row by row, evenly spread, none reaching out of it.

    Args:
        size: (height, width) of the image, pixels.
        tile: side of the square tiles; a shorter side of the image shortens them.
        overlap: share of a tile that its neighbour also sees, at least; 0..1, 1 excluded.

    Returns:
        (N, 4) whole ``xyxy``.

    Raises:
        ConfigError: tile or overlap is out of its range.
    """
    if tile < 1:
        raise ConfigError(f"the side of tiles must be at least 1 pixel; got {tile}")
    if not 0 <= overlap < 1:
        raise ConfigError(f"the overlap of tiles must lie in 0..1, 1 excluded; got {overlap}")
    tops, lefts = (_starts(length, tile, overlap) for length in size)
    height, width = (min(length, tile) for length in size)
    return np.asarray(
        [[left, top, left + width, top + height] for top in tops for left in lefts], np.int64
    )


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    step = max(1, math.floor(tile * (1 - overlap)))
    count = math.ceil((length - tile) / step) + 1
    starts: list[int] = np.rint(np.linspace(0, length - tile, count)).astype(int).tolist()
    return starts


def merge_tiles(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    seen_in: NDArray[np.int64],
    tiles: NDArray[np.int64],
    iou_threshold: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make one box of every object that several tiles saw; see the module's docstring.

    Args:
        boxes: (N, 4) ``xyxy`` in pixels of the whole image.
        scores: (N,).
        labels: (N,).
        seen_in: (N,) row of ``tiles`` in which each was found.
        tiles: (T, 4) ``xyxy``; one of them may be the whole image.
        iou_threshold: 0..1; two boxes of a class that overlap more are one object.

    Returns:
        (K, 4) boxes, best score first, and (K,) for each the row that its score, its class and
        whatever else is known of it come from.

    Raises:
        ConfigError: the threshold is out of its range.
    """
    if not 0 <= iou_threshold <= 1:
        raise ConfigError(f"iou_threshold must lie in 0..1; got {iou_threshold}")
    if not len(boxes):
        return boxes, np.zeros(0, np.int64)
    cut = _is_cut(boxes, tiles[seen_in], tiles)
    group = _pieces(boxes, labels, seen_in, tiles, cut, iou_threshold)
    boxes, rows, seen_in, cut = _joined(boxes, scores, seen_in, cut, group)
    order = np.lexsort((-scores[rows], cut))  # whole ones first
    kept = suppress_across(
        boxes[order], labels[rows][order], seen_in[order], cut[order], iou_threshold
    )
    chosen = order[kept]
    chosen = chosen[np.argsort(-scores[rows][chosen], kind="stable")]
    return boxes[chosen], rows[chosen]


def _is_cut(
    boxes: NDArray[np.float32], own: NDArray[np.int64], tiles: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which boxes touch a border of their tile that is no border of the image."""
    image = np.concatenate([tiles[:, :2].min(0), tiles[:, 2:].max(0)])
    near = np.maximum(1.0, NEAR * (own[:, 2:] - own[:, :2]))  # x, y
    gap = np.abs(boxes - own)
    touching: NDArray[np.bool_] = ((gap <= np.tile(near, 2)) & (own != image)).any(1)
    return touching


def _pieces(
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    seen_in: NDArray[np.int64],
    tiles: NDArray[np.int64],
    cut: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.int64]:
    """Return (N,) the same number for the cut boxes that are pieces of one object.

    Two pieces belong together when, within what both tiles see, they overlap by more than the
    threshold; pieces that belong to the same one do, too.
    """
    group = np.arange(len(boxes))
    places = np.nonzero(cut)[0]
    for n, i in enumerate(places):
        others = places[n + 1 :]
        others = others[(labels[others] == labels[i]) & (seen_in[others] != seen_in[i])]
        seen_twice = _shared(tiles[seen_in[others]], tiles[seen_in[i]])
        same = iou(_shared(boxes[others], seen_twice), _shared(boxes[i], seen_twice))
        for j in others[same > threshold]:
            group[group == group[j]] = group[i]
    return group


def _joined(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    seen_in: NDArray[np.int64],
    cut: NDArray[np.bool_],
    group: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the box around each group, its best row, its tile (or SEVERAL), and whether it is cut."""
    best = np.lexsort((-scores, group))
    numbers, first, counts = np.unique(group[best], return_index=True, return_counts=True)
    rows = best[first]
    place = np.searchsorted(numbers, group)
    corners = np.concatenate([boxes[rows][:, :2], boxes[rows][:, 2:]], axis=1)
    np.minimum.at(corners[:, :2], place, boxes[:, :2])
    np.maximum.at(corners[:, 2:], place, boxes[:, 2:])
    return corners, rows, np.where(counts > 1, SEVERAL, seen_in[rows]), cut[rows]


def _shared(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return the ``xyxy`` of what two boxes share; sides of 0 where they share nothing."""
    low = np.maximum(a[..., :2], b[..., :2]).astype(np.float64)
    high = np.maximum(low, np.minimum(a[..., 2:], b[..., 2:]))
    return np.concatenate([low, high], axis=-1)
