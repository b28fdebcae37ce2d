"""Early exit for part models: parts one by one, only where the score so far is still promising.

The star-cascade of Felzenszwalb, Girshick and McAllester (CVPR 2010), Algorithm 1, without its PCA
stage. Filter responses are computed when first asked for and remembered, NaN until then.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _response(
    features: NDArray[np.float32], weights: NDArray[np.float32], y: int, x: int
) -> np.float32:
    """Return the response of a filter (h, w * 32) at a place of a map (H, W * 32)."""
    total = np.float32(0)
    width = weights.shape[1]
    first = x * 32
    for row in range(weights.shape[0]):
        values = features[y + row, first : first + width]
        own = weights[row]
        for k in range(width):
            total += values[k] * own[k]
    return total


@njit(cache=True, nogil=True)
def _best_part(
    features: NDArray[np.float32],
    weights: NDArray[np.float32],
    deformation: NDArray[np.float64],
    reach: int,
    wanted: tuple[int, int],
    allowance: float,
    memory: NDArray[np.float32],
) -> float:
    """Return the best response minus cost among displacements that cost at most ``allowance``."""
    height, width = memory.shape
    ax, bx, ay, by = deformation
    best = -np.inf
    for y in range(max(0, wanted[0] - reach), min(height, wanted[0] + reach + 1)):
        cost_y = (ay * (wanted[0] - y) + by) * (wanted[0] - y)
        for x in range(max(0, wanted[1] - reach), min(width, wanted[1] + reach + 1)):
            cost = cost_y + (ax * (wanted[1] - x) + bx) * (wanted[1] - x)
            if cost > allowance:
                continue
            if np.isnan(memory[y, x]):
                memory[y, x] = _response(features, weights, y, x)
            best = max(best, memory[y, x] - cost)
    return best


@njit(cache=True, nogil=True)
def run_cascade(
    scores: NDArray[np.float32],
    features: NDArray[np.float32],
    parts: NDArray[np.float32],
    deformations: NDArray[np.float64],
    reach: int,
    starts: NDArray[np.int64],
    extent: tuple[int, int],
    order: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    memory: NDArray[np.float32],
) -> None:
    """Turn root scores (H, W) into scores with parts, in place; ``-inf`` where it gave up.

    Args:
        scores: root score plus bias at every root place.
        features: (h, w * 32) the part level, channels last.
        parts: (P, ph, pw * 32) filters.
        deformations: (P, 4).
        reach: the largest displacement per axis.
        starts: (P, 2) (y, x) that root place (0, 0) wants.
        extent: (rows, columns) of wanted places that count.
        order: (P,) parts, the first to be asked first.
        thresholds: (P, 2): the lowest score before the part, and after its deformation cost.
        memory: (P, rows, columns) responses so far, NaN where unknown.
    """
    height, width = scores.shape
    for y in range(height):
        for x in range(width):
            score = scores[y, x]
            for step in range(order.size):
                part = order[step]
                wanted = (starts[part, 0] + 2 * y, starts[part, 1] + 2 * x)
                inside = 0 <= wanted[0] < extent[0] and 0 <= wanted[1] < extent[1]
                if not inside or score < thresholds[step, 0]:
                    score = np.float32(-np.inf)
                    break
                allowance = score - thresholds[step, 1]
                score += _best_part(
                    features,
                    parts[part],
                    deformations[part],
                    reach,
                    wanted,
                    allowance,
                    memory[part],
                )
            scores[y, x] = score
