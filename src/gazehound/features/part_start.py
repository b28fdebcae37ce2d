"""Where learning starts: groups by aspect ratio, root sizes, left and right, first parts.

Felzenszwalb et al., PAMI 2010, section 5.2, with the choices of voc-release5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter, zoom

from gazehound.features.dpm_features import enlarge, feature_map, mirror_filter, planes_of
from gazehound.kernels.area_average import reduce_area
from gazehound.kernels.dpm_features import oriented_gradients

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

SMOOTHING = 400.0  # of the histogram of log aspect ratios: exp(-bins^2 / 400), bins of 0.02
FILTER_NORM = 0.1  # of a new part filter
START_DEFORMATION = (0.01, 0.0, 0.01, 0.0)
RESTARTS = 10


def split_by_aspect(sizes: NDArray[np.float64], groups: int) -> IntArray:
    """Return the group (N,) of each (height, width): equally many, from wide to tall."""
    aspect = sizes[:, 0] / sizes[:, 1]
    rank = np.argsort(np.argsort(aspect, kind="stable"), kind="stable")
    return np.asarray(rank * groups // max(len(sizes), 1), np.int64)


def root_size(sizes: NDArray[np.float64], cell: int, areas: tuple[float, float]) -> tuple[int, int]:
    """Return (rows, columns) of the root of a group.

    The aspect ratio is the mode of the smoothed histogram of its logarithm; the area is the 20th
    percentile, kept within ``areas`` (square pixels), so that most objects are larger than the root.
    """
    edges = np.arange(-2.01, 2.02, 0.02)
    middles = (edges[:-1] + edges[1:]) / 2
    logs = np.clip(np.log(sizes[:, 0] / sizes[:, 1]), middles[0], middles[-1])
    counts = np.histogram(logs, edges)[0]
    smooth = np.convolve(counts, np.exp(-(np.arange(-100, 101) ** 2) / SMOOTHING), "same")
    aspect = float(np.exp(middles[smooth.argmax()]))
    area = np.sort(sizes.prod(axis=1))[max(int(len(sizes) * 0.2) - 1, 0)]
    width = np.sqrt(np.clip(area, *areas) / aspect)
    return max(round(width * aspect / cell), 1), max(round(width / cell), 1)


def warped_features(
    image: NDArray[np.uint8], box: NDArray[np.float32], size: tuple[int, int], cell: int
) -> FloatArray:
    """Return the features (h, w, 32) of a box, warped to a root of ``size`` cells.

    A margin of one cell is cut out with it, because the outer ring of cells has no features; past
    the image, the border repeats.
    """
    rows, columns = size
    margin_x, margin_y = (box[2] - box[0]) / columns, (box[3] - box[1]) / rows
    outer = box + np.array([-margin_x, -margin_y, margin_x, margin_y])
    x1, y1, x2, y2 = np.round(outer).astype(int)
    ys = np.clip(np.arange(y1, max(y2, y1 + 3)), 0, image.shape[0] - 1)
    xs = np.clip(np.arange(x1, max(x2, x1 + 3)), 0, image.shape[1] - 1)
    window = planes_of(image)[:, ys][:, :, xs]
    warped = _resized(window, (rows + 2) * cell, (columns + 2) * cell)
    return np.ascontiguousarray(feature_map(oriented_gradients(warped), cell).transpose(1, 2, 0))


def _resized(planes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Resize planes (C, H, W): enlarge each axis linearly where needed, then average areas."""
    larger = (max(height, planes.shape[1]), max(width, planes.shape[2]))
    if larger != planes.shape[1:]:
        for axis, target in zip((1, 2), larger, strict=True):
            planes = enlarge(planes, axis, target)
    return reduce_area(np.ascontiguousarray(planes), height, width)


def facing_one_way(features: FloatArray, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which objects (N, h, w, 32) to mirror so that all face the same way.

    Two clusters, one the mirror image of the other, as in voc-release5: every object goes, with one
    of its two images, to the side where it lies nearer to the mean of the others. The best of some
    random starts wins.
    """
    both = np.stack([features, mirror_filter(features)]).reshape(2, len(features), -1)
    best, lowest = np.zeros(len(features), bool), np.inf
    for _ in range(RESTARTS):
        turned = rng.random(len(features)) < 0.5
        rows = np.arange(len(features))
        for _ in range(25):
            total = both[turned.astype(int), rows].sum(axis=0)
            previous = turned.copy()
            for row in rng.permutation(len(features)):
                own = int(turned[row])
                rest = total - both[own, row]
                # |a - m|^2 decides, and |a| = |mirrored a|: the larger product with the mean wins.
                nearer = int(both[1, row] @ rest > both[0, row] @ rest)
                if nearer != own:
                    total = rest + both[nearer, row]
                    turned[row] = bool(nearer)
            if np.array_equal(previous, turned):
                break
        spread = -float(total @ total)
        if spread < lowest:
            best, lowest = turned.copy(), spread
    return best


def place_first_parts(
    root: FloatArray, count: int, size: int, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Return anchors (P, 2) (x, y) and filters (P, size, size, 32) that cover the root's energy.

    The root is enlarged twice; energy is the squared norm of its positive weights. Parts are placed
    greedily where most energy is left, then one at a time is taken up and placed anew until none
    moves; of several random orders the one that covers most wins.
    """
    large = zoom(root.astype(np.float64), (2, 2, 1), order=3, mode="nearest", grid_mode=True)
    energy = (np.maximum(large, 0) ** 2).sum(axis=2)
    short = [max(size - side, 0) for side in energy.shape]
    energy = np.pad(energy, [(0, short[0]), (0, short[1])])
    large = np.pad(large, [(0, short[0]), (0, short[1]), (0, 0)])
    greedy: list[tuple[int, int]] = []
    for _ in range(count):
        greedy.append(_richest(_left_over(energy, greedy, size), size))
    best, most = greedy, -1.0
    for _ in range(RESTARTS):
        places = _settled(energy, list(greedy), size, rng)
        covered = float(energy.sum() - _left_over(energy, places, size).sum())
        if covered > most:
            best, most = places, covered
    filters = [large[y : y + size, x : x + size] for y, x in best]
    norms = [max(float(np.linalg.norm(f)), 1e-12) for f in filters]
    scaled = [FILTER_NORM * f / norm for f, norm in zip(filters, norms, strict=True)]
    return np.array([(x, y) for y, x in best], np.int64), np.stack(scaled).astype(np.float32)


def _left_over(
    energy: NDArray[np.float64], places: list[tuple[int, int]], size: int
) -> NDArray[np.float64]:
    """Return the energy that no part covers."""
    left = energy.copy()
    for y, x in places:
        left[y : y + size, x : x + size] = 0
    return left


def _richest(energy: NDArray[np.float64], size: int) -> tuple[int, int]:
    """Return the corner (y, x) of the square that holds most energy; of equals the first."""
    mean = uniform_filter(energy, size, origin=-(size // 2), mode="constant")
    inside = mean[: energy.shape[0] - size + 1, : energy.shape[1] - size + 1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(y), int(x)


def _settled(
    energy: NDArray[np.float64],
    places: list[tuple[int, int]],
    size: int,
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Take up and place anew one random part at a time until a whole round moves none."""
    for _ in range(100):
        moved = False
        for index in rng.permutation(len(places)):
            others = places[:index] + places[index + 1 :]
            place = _richest(_left_over(energy, others, size), size)
            moved |= place != places[index]
            places[index] = place
        if not moved:
            break
    return places
