"""The IoU family: IoU, GIoU, DIoU, CIoU and EIoU, pairwise and elementwise, for NumPy and torch.

Every function takes ``xyxy`` boxes. *Elementwise* functions broadcast ``(..., 4)`` against
``(..., 4)``; *pairwise* ones take ``(..., N, 4)`` and ``(..., M, 4)`` and give ``(..., N, M)``.

IoU = I / U.
GIoU = IoU - (C - U) / C, C the smallest enclosing box (Rezatofighi et al. 2019, Algorithm 1).
DIoU = IoU - d^2 / c^2, d the distance of centres, c the diagonal of C (Zheng et al. 2020, eq. 7).
CIoU = DIoU - alpha v, v the aspect-ratio term (Zheng et al. 2020, eqs. 8-11); alpha carries no
gradient, as the paper's authors have it.
EIoU = DIoU - (w - w')^2 / Cw^2 - (h - h')^2 / Ch^2, Cw and Ch the sides of C (Zhang et al. 2022, eq. 8).

A pair of boxes without area has IoU 0: the denominators are kept above a tiny epsilon, which leaves
every real box's value untouched in float32. A NaN coordinate gives NaN.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gazehound.boxes.arrays import Array, is_traced, namespace
from gazehound.boxes.formats import area
from gazehound.errors import ConfigError, unknown_name

EPSILON = 1e-7
KERNEL_FROM = 4096  # pairs; below it array functions are as fast
THREADS_FROM = 500_000  # pairs; below it starting threads costs more than it saves
MOST_THREADS = 8  # writing the result, not computing it, is the limit


def _overlap(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the intersection and the union of boxes, elementwise, square pixels."""
    xp = namespace(a)
    width = xp.clip(xp.minimum(a[..., 2], b[..., 2]) - xp.maximum(a[..., 0], b[..., 0]), 0, None)
    height = xp.clip(xp.minimum(a[..., 3], b[..., 3]) - xp.maximum(a[..., 1], b[..., 1]), 0, None)
    intersection = width * height
    return intersection, area(a) + area(b) - intersection


def _enclosing_size(a: Array, b: Array) -> tuple[Array, Array]:
    """Return width and height of the smallest box around each pair."""
    xp = namespace(a)
    width = xp.maximum(a[..., 2], b[..., 2]) - xp.minimum(a[..., 0], b[..., 0])
    height = xp.maximum(a[..., 3], b[..., 3]) - xp.minimum(a[..., 1], b[..., 1])
    return width, height


def iou(a: Array, b: Array) -> Array:
    """Intersection over union, elementwise: (..., 4), (..., 4) -> (...)."""
    intersection, union = _overlap(a, b)
    return intersection / namespace(a).clip(union, EPSILON, None)


def giou(a: Array, b: Array) -> Array:
    """Generalised IoU, elementwise, in -1..1."""
    xp = namespace(a)
    intersection, union = _overlap(a, b)
    width, height = _enclosing_size(a, b)
    enclosing = width * height
    penalty = (enclosing - union) / xp.clip(enclosing, EPSILON, None)
    return intersection / xp.clip(union, EPSILON, None) - penalty


def diou(a: Array, b: Array) -> Array:
    """Distance IoU, elementwise, in -1..1."""
    return iou(a, b) - _centre_penalty(a, b)


def _centre_penalty(a: Array, b: Array) -> Array:
    """Return d^2 / c^2, in 0..1."""
    width, height = _enclosing_size(a, b)
    dx = (a[..., 0] + a[..., 2] - b[..., 0] - b[..., 2]) / 2
    dy = (a[..., 1] + a[..., 3] - b[..., 1] - b[..., 3]) / 2
    return (dx**2 + dy**2) / namespace(a).clip(width**2 + height**2, EPSILON, None)


def ciou(a: Array, b: Array) -> Array:
    """Complete IoU, elementwise."""
    xp = namespace(a)
    angle_a, angle_b = (
        xp.atan((x[..., 2] - x[..., 0]) / xp.clip(x[..., 3] - x[..., 1], EPSILON, None))
        for x in (a, b)
    )
    v = (4 / math.pi**2) * (angle_a - angle_b) ** 2
    overlap = iou(a, b)
    alpha = v / xp.clip(1 - overlap + v, EPSILON, None)
    if hasattr(alpha, "detach"):
        alpha = alpha.detach()
    return overlap - _centre_penalty(a, b) - alpha * v


def eiou(a: Array, b: Array) -> Array:
    """Efficient IoU, elementwise: widths and heights are compared each for itself."""
    xp = namespace(a)
    penalty = 0.0
    for low, enclosing in enumerate(_enclosing_size(a, b)):
        difference = (a[..., low + 2] - a[..., low]) - (b[..., low + 2] - b[..., low])
        penalty = penalty + difference**2 / xp.clip(enclosing**2, EPSILON, None)
    return diou(a, b) - penalty


def intersection_over_area(a: Array, b: Array) -> Array:
    """Intersection over the area of ``a``, elementwise: COCO's overlap with a crowd ``b``."""
    intersection, _ = _overlap(a, b)
    return intersection / namespace(a).clip(area(a), EPSILON, None)


KINDS: dict[str, Callable[[Array, Array], Array]] = {
    "iou": iou,
    "giou": giou,
    "diou": diou,
    "ciou": ciou,
    "eiou": eiou,
    "ioa": intersection_over_area,
}


def pairwise(a: Array, b: Array, kind: str = "iou") -> Array:
    """Every box of ``a`` (..., N, 4) against every box of ``b`` (..., M, 4) -> (..., N, M).

    Plain IoU of many boxes on the CPU, where no gradient is asked for, runs in a Numba kernel with
    the same bits as a result.

    Args:
        a: first boxes.
        b: second boxes; leading axes broadcast.
        kind: ``iou``, ``giou``, ``diou``, ``ciou``, ``eiou`` or ``ioa``.

    Raises:
        ConfigError: ``kind`` is unknown, or the boxes have not four columns.
    """
    if kind not in KINDS:
        raise unknown_name("overlap measure", kind, KINDS)
    for boxes in (a, b):
        if boxes.ndim < 2 or boxes.shape[-1] != 4:
            raise ConfigError(f"boxes must have shape (..., N, 4); got {tuple(boxes.shape)}")
    if kind == "iou" and _fits_kernel(a, b):
        return _pairwise_iou(a, b)
    return KINDS[kind](a[..., :, None, :], b[..., None, :, :])


def _fits_kernel(a: Array, b: Array) -> bool:
    """Say whether both are large, (N, 4), float32 or float64, and plain numbers on the CPU."""
    if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype or len(a) * len(b) < KERNEL_FROM:
        return False
    if isinstance(a, np.ndarray):
        return a.dtype in (np.float32, np.float64)
    torch = sys.modules["torch"]
    if is_traced():
        return False
    wants_gradient = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    on_host = a.device.type == b.device.type == "cpu"
    return bool(on_host and not wants_gradient and a.dtype in (torch.float32, torch.float64))


def _pairwise_iou(a: Array, b: Array) -> Array:
    from gazehound.kernels.overlap import pairwise_iou, with_areas

    rows, others = (
        np.require(x if isinstance(x, np.ndarray) else x.detach().numpy(), None, ["C", "W"])
        for x in (a, b)
    )
    columns = with_areas(others)
    epsilon = rows.dtype.type(EPSILON)
    out = np.empty((len(rows), len(others)), rows.dtype)
    threads = min(MOST_THREADS, os.cpu_count() or 1, len(rows))
    if out.size < THREADS_FROM or threads == 1:
        pairwise_iou(rows, columns, epsilon, out)
    else:
        # Threads of its own, ended at return: Numba's parallel loops do not survive a fork.
        edges = np.linspace(0, len(rows), threads + 1).astype(int)
        parts = [slice(low, high) for low, high in itertools.pairwise(edges)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda p: pairwise_iou(rows[p], columns, epsilon, out[p]), parts))
    return out if isinstance(a, np.ndarray) else sys.modules["torch"].from_numpy(out)
