"""A cascade of region heads, each trained on what the one before made better (Cai & Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.heads.box import BoxPredictor, FullyConnectedBody
from gazehound.nn.heads.region import REGION_WEIGHTS, RegionHead
from gazehound.nn.pooling import RegionPool
from gazehound.nn.proposals import Proposals
from gazehound.nn.samplers import BalancedSampler

THRESHOLDS = (0.5, 0.6, 0.7)
STAGE_WEIGHTS = (1.0, 0.5, 0.25)
"""Of the losses of the stages, as the authors' code and MMDetection have them."""


def cascade_heads(
    pool: RegionPool,
    channels: int,
    classes: int,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    hidden: int = 1024,
    regions: int = 512,
) -> list[RegionHead]:
    """Return one region head per IoU threshold, with boxes that are the same for all classes.

    The first one samples its regions; those of the others are better already, and all learn. Deltas
    shrink from stage to stage, so their weights grow: 10, 20, 30 for the centre and half for the size.

    Args:
        pool: shared; it has no weights.
        channels: of the maps.
        classes: K.
        thresholds: IoU from which a region learns a truth; under it, it is background.
        hidden: width of the two fully connected layers of each stage.
        regions: that learn, per image, a quarter of them positive if there are so many.
    """
    heads = []
    for number, threshold in enumerate(thresholds):
        body = FullyConnectedBody(channels, pool.size, hidden)
        heads.append(
            RegionHead(
                pool,
                body,
                BoxPredictor(body.channels, classes, agnostic=True),
                coder=DeltaCoder([weight * (number + 1) for weight in REGION_WEIGHTS]),
                assigner=MaxIoUAssigner(threshold, threshold, keep_best=False),
                sampler=BalancedSampler(regions, 0.25) if number == 0 else None,
            )
        )
    return heads


def refined(
    stage: RegionHead,
    deltas: Float[Tensor, "B R 1 4"],
    boxes: Float[Tensor, "B R 4"],
    valid: Bool[Tensor, "B R"],
    sizes: Float[Tensor, "B 2"],
) -> Proposals:
    """Return the boxes that a stage makes of its regions, as proposals of the next; no gradient passes.

    Boxes that lost their extent are no longer valid.
    """
    moved = stage.refine(deltas.detach(), boxes, sizes)[:, :, 0]
    alive = valid & (moved[..., 2:] > moved[..., :2]).all(dim=2)
    return Proposals(moved, alive.to(moved.dtype), alive)
