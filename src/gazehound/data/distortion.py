"""Rotation, zoom, shift, shear and perspective of a scene, as one resampling."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gazehound.data.augment import Augment
from gazehound.data.chance import uniform
from gazehound.data.scene import Scene
from gazehound.records import FloatArray

Matrix = NDArray[np.float64]


def draw_matrix(
    augment: Augment, source: tuple[int, int], target: tuple[int, int], scale: tuple[float, float]
) -> Matrix:
    """Draw the 3 x 3 matrix that brings points (x, y, 1) of the source to the target.

    The middle of the source lands in the middle of the target, shifted by at most
    ``augment.translate`` of the target's sides.

    Args:
        augment: the largest angles, shifts and foreshortening.
        source: (height, width), pixels.
        target: likewise.
        scale: range of the zoom; 1 keeps the size of a pixel.
    """
    (height, width), (rows, columns) = source, target
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    most = augment.perspective
    slant = np.eye(3)
    slant[2, 0] = uniform(-most, most) / (width / 2)
    slant[2, 1] = uniform(-most, most) / (height / 2)
    angle = math.radians(uniform(-augment.degrees, augment.degrees))
    zoom = uniform(*scale)
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    lean = np.eye(3)
    lean[0, 1] = math.tan(math.radians(uniform(-augment.shear, augment.shear)))
    lean[1, 0] = math.tan(math.radians(uniform(-augment.shear, augment.shear)))
    shift = np.eye(3)
    shift[0, 2] = columns * (0.5 + uniform(-augment.translate, augment.translate))
    shift[1, 2] = rows * (0.5 + uniform(-augment.translate, augment.translate))
    matrix: Matrix = shift @ lean @ turn @ slant @ centre
    return matrix


def distort(scene: Scene, matrix: Matrix, target: tuple[int, int], fill: int) -> Scene:
    """Resample a scene by a matrix, bilinearly; what lies outside it is grey.

    A box becomes the extent of its four distorted corners, cut to the target.

    Args:
        scene: what is distorted.
        matrix: 3 x 3, from points of the scene to points of the target.
        target: (height, width) of the result, pixels.
        fill: grey level outside the picture.
    """
    back = np.linalg.inv(matrix)
    back = back / back[2, 2]
    flat = bool(np.allclose(back[2, :2], 0, atol=1e-12))
    picture = Image.fromarray(scene.image).transform(
        (target[1], target[0]),
        Image.Transform.AFFINE if flat else Image.Transform.PERSPECTIVE,
        back.ravel()[: 6 if flat else 8].tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=(fill, fill, fill),
    )
    moved = replace(scene, image=np.asarray(picture), boxes=extents(scene.boxes, matrix))
    return moved.cut((0, 0, target[1], target[0]))


def extents(boxes: FloatArray, matrix: Matrix) -> FloatArray:
    """Return the extents (N, 4) of boxes whose corners were moved by a 3 x 3 matrix."""
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    corners = np.stack((x1, y1, x2, y1, x2, y2, x1, y2), axis=1).reshape(-1, 4, 2)  # N x 4 x 2
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2]
    weight = corners @ matrix[2, :2] + matrix[2, 2]
    points = moved / weight[..., None]
    return np.concatenate((points.min(axis=1), points.max(axis=1)), axis=1).astype(np.float32)
