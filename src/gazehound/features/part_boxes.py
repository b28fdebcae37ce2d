"""From placements to boxes: filter boxes, the box prediction from parts, and voc-release5's NMS.

Felzenszwalb et al., PAMI 2010, section 7.1 (bounding box prediction) and 7.2 (suppression).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.formats import area
from gazehound.features.dpm_features import FeaturePyramid
from gazehound.features.parts import Mixture, Placements

Boxes = NDArray[np.float64]  # in pixels; rounded to float32 only when detection is over
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PartsPlaced:
    """The step that detection with part models shows of each class, before the suppression.

    Attributes:
        label: the class.
        mixture: its model.
        pyramid: of the (magnified) image.
        found: N placements.
        filters: (N, 1 + P, 4) boxes of their roots and parts, pixels of the (magnified) image.
        boxes: (N, 4) what they say of the object, pixels of the (magnified) image.
        magnify: how many times the image was enlarged.
    """

    label: int
    mixture: Mixture
    pyramid: FeaturePyramid
    found: Placements
    filters: Boxes
    boxes: Boxes
    magnify: int


def filter_boxes(mixture: Mixture, pyramid: FeaturePyramid, found: Placements) -> Boxes:
    """Return the boxes (N, 1 + P, 4) of root and parts in pixels of the image, unclipped."""
    cell = pyramid.cell_sizes()[found.levels][:, None]
    padding = np.array(pyramid.padding[::-1])
    roots = (found.roots[:, ::-1] - padding) * cell
    sizes = np.array([c.root.shape[1::-1] for c in mixture.components])[found.components] * cell
    boxes = [np.concatenate([roots, roots + sizes], axis=1)[:, None]]
    if mixture.part_count:
        half = cell[:, None] / 2  # a part level is padded by as many cells, each half as wide
        corners = (found.parts[:, :, ::-1] - padding) * half
        part_sizes = np.array(mixture.components[0].parts.shape[2:0:-1]) * half
        boxes.append(np.concatenate([corners, corners + part_sizes], axis=2))
    return np.concatenate(boxes, axis=1)


def _sizes(boxes: Boxes) -> Boxes:
    """Return (N, 2) x2 - x1 and y2 - y1 of voc-release5, whose boxes include their last pixel."""
    return np.maximum(boxes[:, 2:] - boxes[:, :2] - 1, 1)


def regression_inputs(boxes: Boxes, filters: Boxes) -> Boxes:
    """Return (N, 2 (1 + P) + 1): the filters' centres relative to the box, in its sizes, and a 1.

    Args:
        boxes: (N, 4) detection windows, clipped to the image.
        filters: (N, 1 + P, 4) boxes of the root and the parts.
    """
    sizes = _sizes(boxes)
    centres = boxes[:, :2] + sizes / 2
    own = (filters[:, :, :2] + filters[:, :, 2:] - 1) / 2
    relative = (own - centres[:, None]) / sizes[:, None]
    return np.concatenate(
        [relative.reshape(len(boxes), 2 * filters.shape[1]), np.ones((len(boxes), 1))], axis=1
    )


@dataclass(frozen=True)
class BoxRegression:
    """Predicts the sides of a box from where the filters stand: linear, one set per component.

    Attributes:
        coefficients: (components, 4, 2 (1 + P) + 1) float64; the sides are x1, y1, x2, y2 and their
            offsets are in widths and heights of the detection window.
    """

    coefficients: NDArray[np.float64]

    def predict(self, boxes: Boxes, filters: Boxes, components: IntArray) -> Boxes:
        """Return the predicted boxes (N, 4), unclipped.

        Args:
            boxes: (N, 4) detection windows, clipped to the image.
            filters: (N, 1 + P, 4) boxes of the root and the parts.
            components: (N,).
        """
        inputs = regression_inputs(boxes, filters)
        offsets = np.einsum("nk,nsk->ns", inputs, self.coefficients[components])
        return np.asarray(boxes + offsets * np.tile(_sizes(boxes), 2))


def fit_box_regression(
    boxes: Boxes, filters: Boxes, truths: Boxes, groups: IntArray, count: int
) -> BoxRegression:
    """Fit least squares per group of components and return it for both mirror images.

    Component 2 g + 1 is the mirror image of 2 g, so every row is turned to the unmirrored side.
    A group with fewer than three rows per coefficient keeps its windows as they are.

    Args:
        boxes: (N, 4) windows of the positives, clipped; x mirrored (negated) for odd components.
        filters: (N, 1 + P, 4), likewise.
        truths: (N, 4) annotated boxes, likewise.
        groups: (N,) group of each row.
        count: number of groups.
    """
    inputs = regression_inputs(boxes, filters)
    targets = (truths - boxes) / np.tile(_sizes(boxes), 2)
    width = inputs.shape[1]
    coefficients = np.zeros((2 * count, 4, width))
    for group in range(count):
        rows = groups == group
        if rows.sum() >= 3 * width:
            solution = np.linalg.lstsq(inputs[rows], targets[rows], rcond=None)[0].T
            coefficients[2 * group] = solution
            coefficients[2 * group + 1] = mirrored_coefficients(solution)
    return BoxRegression(coefficients)


def mirrored_coefficients(coefficients: NDArray[np.float64]) -> Boxes:
    """Return the coefficients (4, K) that predict the mirrored box from mirrored filters."""
    signs = np.ones(coefficients.shape[1])
    signs[0:-1:2] = -1  # horizontal positions change their sign
    x1, y1, x2, y2 = coefficients * signs
    return np.stack([-x2, y1, -x1, y2])


def mirror_boxes(boxes: Boxes) -> Boxes:
    """Return boxes (..., 4) mirrored at x = 0."""
    return np.asarray(boxes[..., [2, 1, 0, 3]] * np.array([-1, 1, -1, 1]))


def suppress_covered(boxes: Boxes, scores: NDArray[np.float32], overlap: float) -> IntArray:
    """Return the rows kept by the greedy rule of voc-release5, best first.

    A box is dropped when a better kept one covers more than ``overlap`` of *its* area (not of the
    union, as in later systems).
    """
    order = np.argsort(-scores, kind="stable")
    own = np.maximum(area(boxes), 1e-6)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[order, :2])
        extent = np.maximum(np.minimum(boxes[best, 2:], boxes[order, 2:]) - corner, 0)
        order = order[extent[:, 0] * extent[:, 1] <= overlap * own[order]]
    return np.array(kept, np.int64)
