"""Objects as peaks of a heatmap (Zhou, Wang, Krähenbühl 2019, Objects as Points, section 3).

A truth becomes a Gaussian around the cell that holds its centre, in the map of its class; what else
is known of it (offset inside the cell, size, ...) is read from that one cell. Everything runs over
the padded batch in fixed shapes: M truths, H x W cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.boxes.arrays import is_traced
from gazehound.boxes.formats import clip
from gazehound.nn.postprocess import Found
from gazehound.nn.suppression import best_of
from gazehound.records import Targets
from gazehound.watching import show

Grid = tuple[int, int]


@dataclass(frozen=True)
class PeakLimits:
    """What is kept of a heatmap's peaks; there is no NMS.

    Attributes:
        score: lowest score, exclusive.
        per_image: peaks kept per image.
    """

    score: float = 0.01
    per_image: int = 100


@dataclass(frozen=True)
class PointTargets:
    """The truths of a batch as a detector of points learns them; lengths in cells.

    Attributes:
        heat: (B, K, H, W) in 0..1; exactly 1 at the cells of truths.
        cell: (B, M) flat index (row-major) of the cell that holds each centre.
        offset: (B, M, 2) of the centre inside its cell, (x, y), 0..1.
        size: (B, M, 2) width and height.
        radius: (B, M) of the Gaussian, whole cells.
        valid: (B, M) truths with an area.
    """

    heat: Float[Tensor, "B K H W"]
    cell: Int[Tensor, "B M"]
    offset: Float[Tensor, "B M 2"]
    size: Float[Tensor, "B M 2"]
    radius: Float[Tensor, "B M"]
    valid: Bool[Tensor, "B M"]


@dataclass(frozen=True)
class Peaks:
    """The step that a detector of points shows.

    Attributes:
        heat: (B, K, H, W) in 0..1.
        scores: (B, D) of the best local maxima, best first.
        labels: (B, D) the map of each.
        cell: (B, D) flat cell of each, row-major.
        boxes: (B, D, 4) ``xyxy`` read there, clipped to the image content.
        stride: pixels of the network input per cell.
    """

    heat: Float[Tensor, "B K H W"]
    scores: Float[Tensor, "B D"]
    labels: Int[Tensor, "B D"]
    cell: Int[Tensor, "B D"]
    boxes: Float[Tensor, "B D 4"]
    stride: int


def gaussian_radius(
    size: Float[Tensor, "*N 2"], overlap: float = 0.7, *, published: bool = True
) -> Float[Tensor, "*N"]:
    """Return how far a box's corners may move while its IoU stays at ``overlap`` (CornerNet, 3.2).

    The smallest of three cases: one corner moves out and one in, both in, both out. Each is a root
    of a quadratic. The code that CornerNet and CenterNet were trained with takes roots that are not
    the wanted ones, ``(b + sqrt(b^2 - 4ac)) / 2`` in all three; ``published`` repeats that, since
    heatmaps of published weights have that width.

    Args:
        size: width and height, at least 0.
        overlap: the IoU that must remain.
        published: take the roots of the published code.
    """
    width, height = size.unbind(dim=-1)
    total, area = width + height, width * height
    cases = (
        (1.0, -total, area * (1 - overlap) / (1 + overlap)),
        (4.0, -2 * total, (1 - overlap) * area),
        (4 * overlap, 2 * overlap * total, (overlap - 1) * area),
    )
    roots = []
    for a, b, c in cases:
        root = torch.sqrt((b**2 - 4 * a * c).clamp(min=0))
        if published:
            # Their b has the sign of the equation for -r; its larger root, never divided by a.
            roots.append((-b + root) / 2)
        else:
            # The first two shrink to 0 with the box: their small root; the third has one above 0.
            roots.append((-b + (root if a == 4 * overlap else -root)) / (2 * a))
    return torch.stack(roots).amin(dim=0)


@torch.no_grad()
def point_targets(targets: Targets, classes: int, grid: Grid, stride: int) -> PointTargets:
    """Turn truths into a heatmap and the numbers to learn at its peaks.

    A truth without area is left out. Truths of one class in one cell share a peak, and each of them
    asks for its own size there; the widest Gaussian wins everywhere.

    Args:
        targets: boxes in pixels of the network input.
        classes: K.
        grid: (H, W) cells.
        stride: pixels per cell.
    """
    boxes = targets.boxes / stride
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)  # B x M x 2
    centre = boxes[..., :2] + size / 2
    valid = targets.valid & (size > 0).all(dim=2)
    limit = centre.new_tensor((grid[1] - 1, grid[0] - 1))
    cell = torch.minimum(centre.floor().clamp(min=0), limit)
    radius = gaussian_radius(size.ceil()).floor().clamp(min=0)
    return PointTargets(
        draw_gaussians(cell, radius, targets.labels, valid, classes, grid),
        flat_cell(cell, grid),
        centre - cell,
        size,
        radius,
        valid,
    )


@torch.no_grad()
def draw_gaussians(
    cell: Float[Tensor, "B N 2"],
    radius: Float[Tensor, "B N"],
    channel: Int[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    channels: int,
    grid: Grid,
) -> Float[Tensor, "B K H W"]:
    """Draw a Gaussian of ``sigma = (2 radius + 1) / 6`` around each cell; where two meet, the larger.

    Args:
        cell: (x, y) of the centres, whole numbers.
        radius: beyond it in x or y the Gaussian is cut off.
        channel: the map to draw into.
        valid: which are drawn.
        channels: K.
        grid: (H, W).
    """
    width = 2 * ((2 * radius + 1) / 6) ** 2  # B x N

    def profile(middle: Tensor, length: int) -> Tensor:
        distance = torch.arange(length, device=cell.device) - middle[..., None]  # B x N x length
        near = distance.abs() <= radius[..., None]
        return torch.exp(-(distance**2) / width[..., None]).where(near, 0.0)

    rows = profile(cell[..., 1], grid[0]) * valid[..., None]
    columns = profile(cell[..., 0], grid[1])
    each = rows[..., :, None] * columns[..., None, :]  # B x N x H x W
    maps = each.new_zeros(each.shape[0], channels, *grid)
    return maps.scatter_reduce(1, channel[..., None, None].expand_as(each), each, "amax")


def flat_cell(cell: Float[Tensor, "B N 2"], grid: Grid) -> Int[Tensor, "B N"]:
    """Return the row-major index of cells (x, y)."""
    return (cell[..., 1] * grid[1] + cell[..., 0]).long()


def read_cells(maps: Float[Tensor, "B C H W"], cell: Int[Tensor, "B N"]) -> Float[Tensor, "B N C"]:
    """Return what the maps hold in some cells (flat indices) of each image."""
    flat = maps.flatten(2)  # B x C x HW
    return torch.gather(flat, 2, cell[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)


def local_maxima(heat: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
    """Set every cell to 0 that is not the largest of its 3 x 3 cells."""
    return heat.where(heat == F.max_pool2d(heat, 3, stride=1, padding=1), 0.0)


def peaks(
    heat: Float[Tensor, "B K H W"], count: int
) -> tuple[Float[Tensor, "B D"], Int[Tensor, "B D"], Int[Tensor, "B D"]]:
    """Return scores, channels and flat cells of the best local maxima, best first."""
    flat = local_maxima(heat).flatten(1)  # B x KHW
    scores, index = best_of(flat, count)
    cells = heat.shape[2] * heat.shape[3]
    return scores.clamp(min=0), index // cells, index % cells


def channel_peaks(
    heat: Float[Tensor, "B K H W"], count: int
) -> tuple[Float[Tensor, "B K D"], Int[Tensor, "B K D"]]:
    """Return scores and flat cells of the best local maxima of each channel, best first."""
    flat = local_maxima(heat).flatten(2)  # B x K x HW
    scores, cell = flat.topk(min(count, flat.shape[2]), dim=2)
    return scores, cell


def positions(cell: Int[Tensor, "B N"], width: int) -> Float[Tensor, "B N 2"]:
    """Return (x, y) of flat cells."""
    return torch.stack((cell % width, cell // width), dim=2).float()


def decode_points(
    heat: Float[Tensor, "B K H W"],
    offset: Float[Tensor, "B 2 H W"],
    size: Float[Tensor, "B 2 H W"],
    sizes: Float[Tensor, "B 2"],
    stride: int,
    limits: PeakLimits,
) -> tuple[Found, Int[Tensor, "B D"]]:
    """Make detections of a heatmap's best peaks, and say in which flat cells they lie.

    Args:
        heat: logits.
        offset: of the centre in its cell, (x, y), cells.
        size: width and height, cells; negative ones count as 0.
        sizes: (height, width) of the image content in each input, pixels; boxes are clipped to it, and
            those that lie outside are no detections.
        stride: pixels per cell.
        limits: what is kept.
    """
    heat = torch.sigmoid(heat.float())
    scores, labels, cell = peaks(heat, limits.per_image)
    centre = stride * (positions(cell, heat.shape[3]) + read_cells(offset.float(), cell))
    half = stride * read_cells(size.float(), cell).clamp(min=0) / 2
    boxes = clip(torch.cat((centre - half, centre + half), dim=2), sizes[:, :1], sizes[:, 1:])
    if not is_traced():
        show(Peaks(heat, scores, labels, cell, boxes, stride))
    inside = (boxes[..., 2:] > boxes[..., :2]).all(dim=2)
    valid = (scores > limits.score) & inside
    return Found(boxes * valid[..., None], scores * valid, labels * valid, valid), cell
