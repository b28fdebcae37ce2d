"""One boosting round: the best threshold of every feature for the present weights, in parallel.

Weights are whole numbers (fixed point, 62 bits), so sums are exact, do not depend on their order,
and a round gives the same stump on every machine and number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

NOWHERE = 1 << 62  # beyond any sum of weights


@njit(cache=True, parallel=True, nogil=True)
def extremes(
    order: NDArray[Any], flag: int, signed: NDArray[np.int64], out: NDArray[np.int64]
) -> None:
    """Find the least and the greatest signed weight below any threshold of each feature.

    With d the signed weight (faces plus, others minus) below a threshold, the stump that calls the
    upper side a face errs by ``W- + d`` and the one that calls the lower side a face by ``W+ - d``,
    W+ and W- being the weights of the classes. So the least error lies where d is least or greatest
    over the places where a threshold can stand.

    Args:
        order: (F, N) patches by rising response; ``flag`` marks where a threshold can stand.
        flag: the marking bit.
        signed: (N,) weights, negative for the other class.
        out: (F, 2) output, the least and the greatest d; least over greatest: no threshold.
    """
    mask = np.uint64(flag - 1)
    for f in prange(len(order)):
        total, least, greatest = 0, NOWHERE, -NOWHERE
        line = order[f]
        for i in range(len(line)):
            entry = np.uint64(line[i])
            total += signed[entry & mask]
            if entry > mask:
                least = min(least, total)
                greatest = max(greatest, total)
        out[f, 0], out[f, 1] = least, greatest


@njit(cache=True, parallel=True, nogil=True)
def best_gentle(
    order: NDArray[Any],
    flag: int,
    both: NDArray[np.int64],
    places: NDArray[np.int32],
    gains: NDArray[np.float64],
) -> None:
    """Find each feature's threshold of least weighted squared error of a two-valued fit.

    That is the greatest ``L**2 / |L| + R**2 / |R|``, L and R the signed weights on either side.

    Args:
        order: (F, N), see :func:`extremes`.
        flag: the marking bit.
        both: (N, 2) signed weights, and weights.
        places: (F,) output, position of the best threshold; -1: none.
        gains: (F,) output, its value.
    """
    mask = np.uint64(flag - 1)
    all_signed, all_weight = both[:, 0].sum(), both[:, 1].sum()
    for f in prange(len(order)):
        signed, weight = 0, 0
        above, below, place = -1.0, 1.0, -1  # the best gain so far is above / below
        line = order[f]
        for i in range(len(line)):
            entry = np.uint64(line[i])
            row = entry & mask
            signed += both[row, np.uint64(0)]
            weight += both[row, np.uint64(1)]
            if entry > mask and 0 < weight < all_weight:
                left, right = np.float64(signed), np.float64(all_signed - signed)
                light, heavy = np.float64(weight), np.float64(all_weight - weight)
                top, bottom = left * left * heavy + right * right * light, light * heavy
                if top * below > above * bottom:
                    above, below, place = top, bottom, i
        places[f], gains[f] = place, above / below


@njit(cache=True, parallel=True, nogil=True)
def histograms(
    codes: NDArray[np.uint8], both: NDArray[np.int64], out: NDArray[np.int64], parts: int
) -> None:
    """Sum signed weights and weights by bin: codes (F, N), both (N, 2) -> out (F, 256, 2)."""
    for part in prange(parts):
        for f in range(part, len(codes), parts):
            bins = out[f]
            bins[:] = 0
            line = codes[f]
            for n in range(len(line)):
                code = np.uint64(line[n])
                bins[code, np.uint64(0)] += both[n, 0]
                bins[code, np.uint64(1)] += both[n, 1]
