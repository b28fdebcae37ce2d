"""FCOS's assignment (Tian et al. 2019, section 3.1 and 3.2; centre sampling as in the journal version)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gazehound.boxes.formats import area
from gazehound.boxes.iou import iou
from gazehound.errors import ConfigError
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.geometry import near_centres, sides
from gazehound.records import Targets


class FCOSAssigner:
    """A point belongs to a truth if it lies in it, near its centre, and the size suits the level.

    The size is the longest way from the point to a side of the box; level i takes those between 4 and 8
    strides, the first level all shorter ones and the last one all longer ones; both bounds are
    exclusive, as in torchvision and Detectron2. Where several truths want a point, the one of smallest
    area has it; of equal areas, and so of identical truths, the first. Areas are compared as they are:
    torchvision's ``1e8 - area`` in float32 cannot tell areas apart that differ by less than 4.

    Args:
        radius: half side of the centre area in strides; 0 takes the whole box.
        range_of_level: the sizes that a level takes, in its strides.

    Raises:
        ConfigError: the radius is negative or the range is empty.
    """

    def __init__(self, radius: float = 1.5, range_of_level: Sequence[float] = (4.0, 8.0)) -> None:
        self.radius = radius
        self.low, self.high = range_of_level
        if radius < 0 or not 0 <= self.low < self.high:
            raise ConfigError(
                "FCOS needs radius >= 0 and a range 0 <= low < high; got "
                f"radius={radius}, range_of_level={tuple(range_of_level)}"
            )

    @torch.no_grad()
    def __call__(
        self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None
    ) -> Assignment:
        """Assign the points of one network input to the truths of each image; no prediction is read."""
        points, stride = candidates.centres, candidates.stride
        shortest, longest = sides(points, targets.boxes)  # B x M x L
        low, high = self._bounds(candidates)
        wanted = (shortest > 0) & (longest > low) & (longest < high) & targets.valid[..., None]
        if self.radius:
            wanted &= near_centres(points, stride, targets.boxes, self.radius)
        areas = area(targets.boxes)[..., None]  # B x M x 1
        smallest, truth = areas.where(wanted, torch.inf).min(dim=1)  # B x L
        positive = torch.isfinite(smallest)
        state = torch.where(positive, int(State.POSITIVE), int(State.NEGATIVE)).to(torch.int8)
        index = truth[..., None].expand(-1, -1, 4)
        overlap = iou(candidates.boxes, torch.gather(targets.boxes, 1, index))
        return Assignment(truth, state, overlap)

    def _bounds(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the sizes between which each point takes a truth, pixels."""
        low = [0.0, *(self.low * s for s in candidates.strides[1:])]
        high = [*(self.high * s for s in candidates.strides[:-1]), torch.inf]
        return candidates.spread(low), candidates.spread(high)
