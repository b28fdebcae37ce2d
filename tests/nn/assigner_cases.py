"""Random assignment problems, small enough for plain loops."""

import numpy as np
import torch

from gazehound.data.batching import pad_targets
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.points import PointGrid

SIZE = 96
STRIDES = (8, 16, 32)
CLASSES = 3


def points(size=SIZE, strides=STRIDES):
    grids = [(size // s, size // s) for s in strides]
    boxes = PointGrid(strides)(grids, (size, size))
    return Candidates(boxes, tuple(h * w for h, w in grids), tuple(strides))


def truths(seed, count):
    """Boxes on quarter pixels, so that float32 holds every sum and centre exactly."""
    generator = np.random.default_rng(seed)
    size = generator.integers(4, 4 * 60, (count, 2)) / 4
    corner = np.floor(generator.random((count, 2)) * (SIZE - size) * 4) / 4
    boxes = torch.tensor(np.concatenate([corner, corner + size], 1), dtype=torch.float32)
    return boxes, torch.tensor(generator.integers(0, CLASSES, count))


def problem(seed, counts, candidates=None):
    """Return candidates, padded targets of several images, and predictions that are partly good."""
    candidates = candidates or points()
    pairs = [truths(seed * 100 + i, count) for i, count in enumerate(counts)]
    targets = pad_targets([b for b, _ in pairs], [n for _, n in pairs])
    generator = torch.Generator().manual_seed(seed)
    batch, length = len(counts), len(candidates.boxes)

    def noise(*shape):
        return torch.randn(batch, length, *shape, generator=generator)

    boxes = candidates.boxes + 6 * noise(4)
    for image, (known, _) in enumerate(pairs):
        if len(known):
            pick = torch.randint(len(known), (length,), generator=generator)
            near = torch.rand(length, generator=generator) < 0.7
            boxes[image] = boxes[image].where(~near[:, None], known[pick] + 2 * noise(4)[image])
    corner = torch.minimum(boxes[..., :2], boxes[..., 2:] - 1)
    boxes = torch.cat((corner, boxes[..., 2:]), 2)
    return candidates, targets, Predictions(noise(CLASSES) * 2, boxes, noise())


def iou(a, b):
    """Plain IoU of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return both / (areas - both)


def truths_of(targets, image):
    """Return the valid boxes and labels of one image as lists of numbers."""
    count = int(targets.valid[image].sum())
    return targets.boxes[image, :count].tolist(), targets.labels[image, :count].tolist()


def matched(assignment, image):
    """Return place -> truth of the positive places of one image."""
    rows = torch.nonzero(assignment.positive[image])[:, 0].tolist()
    return {place: int(assignment.truth[image, place]) for place in rows}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
