"""Grey images, and grey patches of one size cut from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.features.pyramid import byte_planes
from gazehound.kernels.resize import resize_planes

MOST_ENLARGED = 2.0  # a box enlarged further than that has nothing to teach

_LUMA = (9798, 19235, 3735)  # ITU-R BT.601 weights of R, G, B in 1/32768, as OpenCV rounds them


def grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image (H, W), (H, W, 1) or (H, W, 3) RGB as (H, W) uint8 luma; see ``byte_planes``."""
    planes = byte_planes(image)
    if len(planes) == 1:
        return np.asarray(planes[0])
    weighted = sum(w * plane.astype(np.int32) for w, plane in zip(_LUMA, planes, strict=True))
    return np.asarray((weighted + (1 << 14)) >> 15, np.uint8)


def resized(patches: NDArray[np.uint8], window: tuple[int, int]) -> NDArray[np.uint8]:
    """Return patches (N, H, W) resized to (N, *window)."""
    return resize_planes(np.ascontiguousarray(patches), *window)


def crops(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], window: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut boxes out of a grey image, widened to the window's shape, and resize them to the window.

    Args:
        image: (H, W).
        boxes: (N, 4) ``xyxy``; what lies outside the image is cut off.
        window: (height, width).

    Returns:
        (M, height, width), without the boxes that would have to be enlarged too far.
    """
    found = [np.zeros((0, *window), np.uint8)]
    for box in boxes:
        unit = max((box[3] - box[1]) / window[0], (box[2] - box[0]) / window[1])
        if unit * MOST_ENLARGED < 1:
            continue
        half = np.asarray([window[1], window[0]]) * unit / 2
        centre = (box[:2] + box[2:]) / 2
        x, y = np.clip(np.rint(centre - half), 0, [image.shape[1] - 1, image.shape[0] - 1])
        right, bottom = np.rint(centre + half)
        piece = image[int(y) : int(max(bottom, y + 1)), int(x) : int(max(right, x + 1))]
        found.append(resized(piece[None], window))
    return np.concatenate(found)
