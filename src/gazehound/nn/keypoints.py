"""Joints of an object: regressed from its centre, then drawn to the nearest peak of their own heatmap.

Objects as Points, section 4.2.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.nn.heatmaps import (
    Grid,
    PointTargets,
    channel_peaks,
    draw_gaussians,
    flat_cell,
    positions,
    read_cells,
)

SUREST_MISS = 0.1  # a joint's peak counts only above this score
REACH = 0.3  # of the box's longer side: as far as a regressed joint is drawn


def joint_targets(
    joints: Float[Tensor, "B M J 2"], wanted: PointTargets, grid: Grid, stride: int
) -> tuple[
    Float[Tensor, "B J H W"],
    Int[Tensor, "B MJ"],
    Float[Tensor, "B MJ 2"],
    Bool[Tensor, "B M J"],
    Float[Tensor, "B M J 2"],
]:
    """Turn joints into what the network learns of them.

    Args:
        joints: in pixels of the network input; NaN where not annotated.
        wanted: the targets of their objects.
        grid: (H, W) cells.
        stride: pixels per cell.

    Returns:
        The joints' heatmaps, with Gaussians as wide as their object's; the flat cell of each joint; its
        place inside the cell; which joints count; their way from the object's cell. Lengths in cells.
    """
    places = joints / stride
    most = places.new_tensor((grid[1], grid[0]))
    inside = (places >= 0) & (places < most)  # False for NaN
    counted = inside.all(dim=3) & wanted.valid[..., None]  # B x M x J
    places = places.where(counted[..., None], 0.0)
    cell = places.floor()
    flat = cell.flatten(1, 2)  # B x MJ x 2
    count = joints.shape[2]
    channel = torch.arange(count, device=joints.device).repeat(joints.shape[1])
    heat = draw_gaussians(
        flat,
        wanted.radius.repeat_interleave(count, dim=1),
        channel.expand(len(joints), -1),
        counted.flatten(1),
        count,
        grid,
    )
    away = places - positions(wanted.cell, grid[1])[:, :, None]
    return heat, flat_cell(flat, grid), (places - cell).flatten(1, 2), counted, away


@torch.no_grad()
def snapped(
    regressed: Float[Tensor, "B D J 2"],
    boxes: Float[Tensor, "B D 4"],
    heat: Float[Tensor, "B J H W"],
    offset: Float[Tensor, "B 2 H W"],
    stride: int,
    count: int,
) -> Float[Tensor, "B D J 3"]:
    """Move each joint to the nearest peak of its heatmap, if that is in the box and not far.

    Args:
        regressed: (x, y) in pixels of the network input.
        boxes: of the objects, pixels.
        heat: probabilities.
        offset: of a joint in its cell, cells.
        stride: pixels per cell.
        count: peaks looked at per joint.

    Returns:
        (x, y) in pixels and the peak's score; 0 where a joint stays as regressed.
    """
    scores, cell = channel_peaks(heat, count)  # B x J x P
    flat = cell.flatten(1)
    found = stride * (positions(flat, heat.shape[3]) + read_cells(offset, flat))
    found = found.unflatten(1, cell.shape[1:])  # B x J x P x 2
    ways = (regressed.transpose(1, 2)[:, :, :, None] - found[:, :, None]).norm(
        dim=4
    )  # B x J x D x P
    ways = ways.masked_fill(scores[:, :, None] <= SUREST_MISS, torch.inf)
    distance, nearest = ways.min(dim=3)  # B x J x D
    at = nearest[..., None].expand(-1, -1, -1, 2)
    peak = found.gather(2, at).transpose(1, 2)  # B x D x J x 2
    score = scores.gather(2, nearest).transpose(1, 2)
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    reach = REACH * (high - low).amax(dim=3)
    near = distance.transpose(1, 2) <= reach
    moved = near & ((peak >= low) & (peak <= high)).all(dim=3)
    place = peak.where(moved[..., None], regressed)
    return torch.cat((place, (score * moved)[..., None]), dim=3)
