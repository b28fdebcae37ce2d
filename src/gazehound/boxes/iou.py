"""The IoU family: IoU, GIoU, DIoU and CIoU, pairwise and elementwise, for NumPy and torch.

Every function takes ``xyxy`` boxes. *Elementwise* functions broadcast ``(..., 4)`` against
``(..., 4)``; *pairwise* ones take ``(..., N, 4)`` and ``(..., M, 4)`` and give ``(..., N, M)``.

IoU = I / U.
GIoU = IoU - (C - U) / C, C the smallest enclosing box (Rezatofighi et al. 2019, Algorithm 1).
DIoU = IoU - d^2 / c^2, d the distance of the centres, c the diagonal of C (Zheng et al. 2020, eq. 7).
CIoU = DIoU - alpha v, v the aspect-ratio term (Zheng et al. 2020, eqs. 8-11); alpha carries no
gradient, as the paper's authors have it.

A pair of boxes without area has IoU 0: the denominators are kept above a tiny epsilon, which leaves
every real box's value untouched in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gazehound.boxes.arrays import Array, namespace
from gazehound.boxes.formats import area
from gazehound.errors import unknown_name

EPSILON = 1e-7


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
    """Distance IoU, elementwise."""
    xp = namespace(a)
    width, height = _enclosing_size(a, b)
    dx = (a[..., 0] + a[..., 2] - b[..., 0] - b[..., 2]) / 2
    dy = (a[..., 1] + a[..., 3] - b[..., 1] - b[..., 3]) / 2
    return iou(a, b) - (dx**2 + dy**2) / xp.clip(width**2 + height**2, EPSILON, None)


def ciou(a: Array, b: Array) -> Array:
    """Complete IoU, elementwise."""
    xp = namespace(a)
    angle_a, angle_b = (
        xp.atan((x[..., 2] - x[..., 0]) / xp.clip(x[..., 3] - x[..., 1], EPSILON, None))
        for x in (a, b)
    )
    v = (4 / math.pi**2) * (angle_a - angle_b) ** 2
    denominator = xp.clip(1 - iou(a, b) + v, EPSILON, None)
    alpha = v / denominator
    if hasattr(alpha, "detach"):
        alpha = alpha.detach()
    return diou(a, b) - alpha * v


def intersection_over_area(a: Array, b: Array) -> Array:
    """Intersection over the area of ``a``, elementwise: COCO's overlap with a crowd region ``b``."""
    intersection, _ = _overlap(a, b)
    return intersection / namespace(a).clip(area(a), EPSILON, None)


KINDS: dict[str, Callable[[Array, Array], Array]] = {
    "iou": iou,
    "giou": giou,
    "diou": diou,
    "ciou": ciou,
    "ioa": intersection_over_area,
}


def pairwise(a: Array, b: Array, kind: str = "iou") -> Array:
    """Every box of ``a`` (..., N, 4) against every box of ``b`` (..., M, 4) -> (..., N, M).

    Args:
        a: first boxes.
        b: second boxes; leading axes broadcast.
        kind: ``iou``, ``giou``, ``diou``, ``ciou`` or ``ioa``.

    Raises:
        ConfigError: ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise unknown_name("overlap measure", kind, KINDS)
    return KINDS[kind](a[..., :, None, :], b[..., None, :, :])
