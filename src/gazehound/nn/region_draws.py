"""Batches of warped regions for R-CNN's fine-tuning, drawn from all images at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from gazehound.errors import TrainingError
from gazehound.nn.region_classifier import FineTuning, RegionClassifier
from gazehound.nn.warping import warp

PICTURES = 256  # normalised images kept in memory


class RegionDraws:
    """Draws regions uniformly over all images, some with an object and the rest background.

    "We bias the sampling towards positive windows because they are extremely rare" (Girshick et al.
    2014, section 2.3). Half of the drawn regions are mirrored.

    Args:
        picture: gives the normalised image (3, H, W) of a row of the data set.
        boxes: (R_i, 4) ``xyxy`` regions of each row.
        labels: (R_i,) their classes, K for background.
        network: what the regions are for: gives their size and device.
        rules: how many regions, and how many with an object; all of them when there is no background.
        context: pixels around a region that it is warped with.
        seed: of the draws.

    Raises:
        TrainingError: no region shows an object.
    """

    def __init__(
        self,
        picture: Callable[[int], Tensor],
        boxes: Sequence[NDArray[np.float32]],
        labels: Sequence[NDArray[np.int64]],
        network: RegionClassifier,
        rules: FineTuning,
        context: int,
        seed: int = 0,
    ) -> None:
        self.rows = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
        self.boxes, self.labels = np.concatenate(boxes), np.concatenate(labels)
        self.network, self.rules, self.context = network, rules, context
        self._random = np.random.default_rng(seed)
        self._objects = np.flatnonzero(self.labels != network.classes)
        self._others = np.flatnonzero(self.labels == network.classes)
        if not len(self._objects):
            raise TrainingError("no region of any image shows an object; is the data set empty?")
        self._picture = lru_cache(PICTURES)(picture)

    def __call__(self) -> tuple[Float[Tensor, "N 3 S S"], Int[Tensor, " N"]]:
        """Draw a batch: warped regions and their labels, both on the network's device."""
        device, side = self.network.device, self.network.side
        drawn = self._drawn()
        regions = torch.empty(len(drawn), 3, side, side, device=device)
        for row in np.unique(self.rows[drawn]).tolist():
            places = np.flatnonzero(self.rows[drawn] == row)
            boxes = torch.from_numpy(self.boxes[drawn[places]]).to(device)
            pixels = self._picture(row).to(device)
            regions[torch.from_numpy(places)] = warp(pixels, boxes, side, self.context)
        mirrored = torch.from_numpy(self._random.random(len(drawn)) < 0.5).to(device)
        regions = regions.flip(3).where(mirrored[:, None, None, None], regions)
        return regions, torch.from_numpy(self.labels[drawn]).to(device)

    def _drawn(self) -> NDArray[np.int64]:
        count = self.rules.positive if len(self._others) else self.rules.batch
        parts = [self._objects[self._random.integers(len(self._objects), size=count)]]
        if len(self._others):
            rest = self._random.integers(len(self._others), size=self.rules.batch - count)
            parts.append(self._others[rest])
        return np.concatenate(parts)
