"""From an image to the space before the camera and back, in KITTI's frame: x right, y down, z ahead.

``projection`` is a 3 x 4 matrix such as KITTI's P2; lengths are metres, image points pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]


def project(points: Numbers, projection: Numbers) -> Numbers:
    """Return the image points (..., 2) of points in space (..., 3)."""
    ones = np.ones((*points.shape[:-1], 1), points.dtype)
    image = np.concatenate((points, ones), axis=-1) @ projection.T
    flat: Numbers = image[..., :2] / image[..., 2:]
    return flat


def unproject(points: Numbers, depth: Numbers, projection: Numbers) -> Numbers:
    """Return the points in space (N, 3) that lie at image points (N, 2), ``depth`` (N,) before the camera.

    ``depth`` is z of the point itself, as KITTI's labels give it.
    """
    homogeneous = depth + projection[2, 3]
    x = (points[:, 0] * homogeneous - projection[0, 3] - projection[0, 2] * depth) / projection[
        0, 0
    ]
    y = (points[:, 1] * homogeneous - projection[1, 3] - projection[1, 2] * depth) / projection[
        1, 1
    ]
    return np.stack((x, y, depth), axis=1)


def heading(alpha: Numbers, x: Numbers, projection: Numbers) -> Numbers:
    """Return KITTI's ``rotation_y`` of objects seen under ``alpha`` at image column ``x``; -pi..pi."""
    ray = np.arctan2(x - projection[0, 2], projection[0, 0])
    turned: Numbers = np.remainder(alpha + ray + np.pi, 2 * np.pi) - np.pi
    return turned


def locations(boxes: Numbers, depth: Numbers, dimensions: Numbers, projection: Numbers) -> Numbers:
    """Return where objects stand (N, 3): KITTI's ``location``, the middle of the bottom face.

    Args:
        boxes: (N, 4) ``xyxy`` in the image; their centre is taken for the object's.
        depth: (N,) metres.
        dimensions: (N, 3) height, width, length, metres.
        projection: of the camera.
    """
    centre = unproject((boxes[:, :2] + boxes[:, 2:]) / 2, depth, projection)
    centre[:, 1] += dimensions[:, 0] / 2
    return centre


def corners(location: Numbers, dimensions: Numbers, rotation_y: Numbers) -> Numbers:
    """Return the eight corners (N, 8, 3) of boxes that stand at ``location``; the bottom four first."""
    height, width, length = (dimensions[:, i, None] for i in range(3))
    x = length / 2 * np.array([1, 1, -1, -1, 1, 1, -1, -1])
    z = width / 2 * np.array([1, -1, -1, 1, 1, -1, -1, 1])
    y = -height * np.array([0, 0, 0, 0, 1, 1, 1, 1])
    cosine, sine = np.cos(rotation_y)[:, None], np.sin(rotation_y)[:, None]
    turned = np.stack((cosine * x + sine * z, y, cosine * z - sine * x), axis=2)
    placed: Numbers = turned + location[:, None]
    return placed
