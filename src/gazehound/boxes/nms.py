"""Greedy non-maximum suppression: class-agnostic and class-aware, the indices of torchvision's.

NumPy arrays and CPU tensors go to a Numba kernel (tensors without a copy); tensors on a device, and
tensors under ``torch.compile``, tracing or export, go to torchvision's operator. Both give the same
indices at every threshold:

- boxes are taken by score from high to low, equal scores in the order given, a NaN score first;
- a box is dropped when its IoU with a kept box is *above* the threshold;
- a box without area, or with a NaN coordinate, overlaps nothing: it is kept and drops no other.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.arrays import Array, is_traced
from gazehound.errors import ConfigError
from gazehound.kernels import nms as kernel

NO_LIMIT = np.iinfo(np.int64).max


def nms(boxes: Array, scores: Array, iou_threshold: float, limit: int | None = None) -> Array:
    """Greedy NMS over all boxes, whatever their class.

    Args:
        boxes: (N, 4) ``xyxy``.
        scores: (N,).
        iou_threshold: 0..1; a box whose IoU with a better kept one is above it is dropped.
        limit: keep at most this many (the best).

    Returns:
        (K,) int64 indices of the kept boxes, best first; an array or tensor like ``boxes``.

    Raises:
        ConfigError: the shapes do not fit, or the threshold is not in 0..1.
    """
    _check(boxes, scores, iou_threshold)
    if _goes_to_torchvision(boxes):
        from torchvision.ops import nms as operator

        return operator(boxes, scores, iou_threshold)[:limit]
    rows = _plain(boxes)
    order = descending(_plain(scores))
    most = NO_LIMIT if limit is None else limit
    keep = kernel.suppress(rows, order, not_above(iou_threshold, rows.dtype), most)
    return _like(boxes, order[keep])


def batched_nms(
    boxes: Array, scores: Array, labels: Array, iou_threshold: float, limit: int | None = None
) -> Array:
    """Greedy NMS within each class; exact, since no box is moved to keep the classes apart.

    Args:
        boxes: (N, 4) ``xyxy``.
        scores: (N,).
        labels: (N,) integers, any values.
        iou_threshold: 0..1.
        limit: keep at most this many (the best of all classes).

    Returns:
        (K,) int64 indices of the kept boxes, best first over all classes.

    Raises:
        ConfigError: the shapes do not fit, or the threshold is not in 0..1.
    """
    _check(boxes, scores, iou_threshold, labels)
    if _goes_to_torchvision(boxes):
        return _batched_by_torchvision(boxes, scores, labels, iou_threshold)[:limit]
    rows = _plain(boxes)
    order = descending(_plain(scores))
    dense, count = _dense(_on_host(labels))
    most = NO_LIMIT if limit is None else limit
    threshold = not_above(iou_threshold, rows.dtype)
    keep = kernel.suppress_by_class(rows, order, dense, count, threshold, most)
    return _like(boxes, order[keep][:limit])


def descending(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the stable order of scores (N,) from high to low, NaN first."""
    if scores.dtype == np.float32:
        order: NDArray[np.int64] = kernel.argsort_descending(scores)
        return order
    order = np.argsort(-scores, kind="stable")  # NaN at its end
    return np.roll(order, int(np.isnan(scores).sum()))


def not_above(threshold: float, dtype: np.dtype[Any]) -> Any:
    """Return the largest number of ``dtype`` that is not above ``threshold``.

    Comparing a float32 IoU with it gives what comparing with the float64 threshold gives.
    """
    near = dtype.type(threshold)
    return np.nextafter(near, dtype.type(-np.inf)) if float(near) > threshold else near


def _check(boxes: Array, scores: Array, iou_threshold: float, labels: Array | None = None) -> None:
    if not isinstance(boxes, np.ndarray) and is_traced():
        return  # shapes are symbols there
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ConfigError(f"NMS needs boxes (N, 4); got {tuple(boxes.shape)}")
    for name, column in (("scores", scores), ("labels", labels)):
        if column is not None and tuple(column.shape) != (boxes.shape[0],):
            raise ConfigError(
                f"NMS needs one of {name} per box, ({boxes.shape[0]},); got {tuple(column.shape)}"
            )
    if not 0 <= iou_threshold <= 1:
        raise ConfigError(f"iou_threshold must lie in 0..1; got {iou_threshold}")


def _goes_to_torchvision(boxes: Array) -> bool:
    if isinstance(boxes, np.ndarray):
        return False
    return bool(boxes.device.type != "cpu" or is_traced())


def _on_host(array: Array) -> NDArray[Any]:
    """Return a NumPy view of a NumPy array or a CPU tensor."""
    if isinstance(array, np.ndarray):
        return array
    tensor = array.detach()
    narrow = tensor.is_floating_point() and tensor.element_size() < 4  # NumPy has no bfloat16
    view: NDArray[Any] = (tensor.float() if narrow else tensor).numpy()
    return view


def _plain(array: Array) -> NDArray[Any]:
    """Return ``array`` on the host, as the kernels are compiled for: C order, float32 or float64.

    Nothing is copied that is so already; integers and half precision become float32.
    """
    view = _on_host(array)
    dtype = view.dtype if view.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    return np.require(view, dtype, ["C", "W"])


def _like(example: Array, indices: NDArray[np.int64]) -> Array:
    if isinstance(example, np.ndarray):
        return indices
    return sys.modules["torch"].from_numpy(indices)


def _dense(labels: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """Return labels 0..count-1 and the count; numbers them anew only where they are wide apart."""
    if not len(labels):
        return np.zeros(0, np.int64), 0
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > len(labels) + 1000:
        values, dense = np.unique(labels, return_inverse=True)
        return dense.astype(np.int64), len(values)
    return np.require(labels, np.int64, ["C", "W"]), high + 1


def _batched_by_torchvision(boxes: Array, scores: Array, labels: Array, threshold: float) -> Array:
    """Class after class: torchvision's own ``batched_nms`` moves the boxes, which rounds them."""
    import torch
    from torchvision.ops import nms as operator

    if is_traced():
        from torchvision.ops import batched_nms as traceable

        return traceable(boxes, scores, labels, threshold)
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for label in labels.unique():
        rows = torch.nonzero(labels == label).squeeze(1)
        keep[rows[operator(boxes[rows], scores[rows], threshold)]] = True
    kept = torch.nonzero(keep).squeeze(1)
    return kept[scores[kept].sort(descending=True, stable=True)[1]]
