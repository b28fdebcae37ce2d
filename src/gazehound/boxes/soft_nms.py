"""Soft-NMS (Bodla et al. 2017): overlapping boxes lose score instead of being dropped."""

from __future__ import annotations

import sys

import numpy as np

from gazehound.boxes.arrays import Array
from gazehound.errors import ConfigError, unknown_name
from gazehound.kernels.soft_nms import soften

METHODS = ("linear", "gaussian")


def soft_nms(
    boxes: Array,
    scores: Array,
    labels: Array | None = None,
    *,
    method: str = "gaussian",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    lowest: float = 0.001,
    limit: int | None = None,
) -> tuple[Array, Array]:
    """Take the best box, lower the scores of those that overlap it, and go on with what is left.

    The lowered score is s (1 - IoU) where IoU > ``iou_threshold`` (``linear``, eq. 1) or
    s exp(-IoU^2 / sigma) (``gaussian``, eq. 2). The defaults are the paper's. It runs on the CPU;
    tensors of a device are copied there and the result is copied back.

    Args:
        boxes: (N, 4) ``xyxy``.
        scores: (N,), not negative.
        labels: (N,) integers: only boxes of one class act on each other; ``None``: all do.
        method: ``linear`` or ``gaussian``.
        iou_threshold: 0..1, for ``linear``.
        sigma: above 0, for ``gaussian``.
        lowest: a box whose score falls below it is dropped; so is one with a NaN score.
        limit: keep at most this many (the best).

    Returns:
        (K,) int64 indices, by decayed score from high to low, and (K,) the decayed scores; arrays
        or tensors like ``boxes`` and ``scores``. Equal scores come in the order given.

    Raises:
        ConfigError: the shapes do not fit, or an option is out of its range.
    """
    count = _check(boxes, scores, labels, method, iou_threshold, sigma)
    keep, decayed = soften(
        _host(boxes).astype(np.float64),
        _host(scores).astype(np.float64),
        np.zeros(count, np.int64) if labels is None else _host(labels).astype(np.int64),
        float(iou_threshold),
        float(sigma) if method == "gaussian" else 0.0,
        float(lowest),
        count if limit is None else int(limit),
    )
    if isinstance(boxes, np.ndarray):
        return keep, decayed.astype(scores.dtype)
    torch = sys.modules["torch"]
    indices = torch.from_numpy(keep).to(boxes.device)
    return indices, torch.from_numpy(decayed).to(device=scores.device, dtype=scores.dtype)


def _host(array: Array) -> Array:
    if isinstance(array, np.ndarray):
        return array
    tensor = array.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def _check(
    boxes: Array,
    scores: Array,
    labels: Array | None,
    method: str,
    iou_threshold: float,
    sigma: float,
) -> int:
    """Return the number of boxes, or raise ConfigError."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ConfigError(f"Soft-NMS needs boxes (N, 4); got {tuple(boxes.shape)}")
    count = int(boxes.shape[0])
    for name, column in (("scores", scores), ("labels", labels)):
        if column is not None and tuple(column.shape) != (count,):
            raise ConfigError(
                f"Soft-NMS needs one of {name} per box, ({count},); got {tuple(column.shape)}"
            )
    if method not in METHODS:
        raise unknown_name("Soft-NMS method", method, METHODS)
    if not 0 <= iou_threshold <= 1:
        raise ConfigError(f"iou_threshold must lie in 0..1; got {iou_threshold}")
    if method == "gaussian" and not sigma > 0:
        raise ConfigError(f"sigma must be above 0; got {sigma}")
    return count
