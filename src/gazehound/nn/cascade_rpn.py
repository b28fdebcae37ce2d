"""The two stages of Cascade RPN (Vu et al. 2019, Delving into High-Quality Region Proposal Network)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from gazehound.nn.anchors import AnchorGrid
from gazehound.nn.assigners.assignment import Assignment
from gazehound.nn.assigners.centre_region import CentreRegionAssigner
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.blocks import flatten_cells
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.losses.box import IoULoss
from gazehound.nn.normaliser import normaliser
from gazehound.nn.proposals import ProposalLimits, Proposals, propose
from gazehound.nn.rpn import objectness_loss
from gazehound.nn.samplers import BalancedSampler, draw_of
from gazehound.records import Targets

BOX_WEIGHT = 7.0  # 10 for boxes times 0.7 for the whole proposal network
CLASS_WEIGHT = 0.7
DENSE_SHARE = 200  # the first stage's box loss is divided by all anchors over this number


@dataclass(frozen=True)
class CascadeOutputs:
    """What Cascade RPN computes for a batch; one anchor per cell.

    Attributes:
        anchors: (L, 4) squares of the first stage, ``xyxy`` in pixels of the network input.
        first: (B, L, 4) deltas from them.
        refined: (B, L, 4) the boxes they stand for, the anchors of the second stage; no gradient.
        second: (B, L, 4) deltas from those.
        objectness: (B, L) logits of the refined anchors.
        lengths: anchors per pyramid level; they sum to L.
    """

    anchors: Float[Tensor, "L 4"]
    first: Float[Tensor, "B L 4"]
    refined: Float[Tensor, "B L 4"]
    second: Float[Tensor, "B L 4"]
    objectness: Float[Tensor, "B L"]
    lengths: tuple[int, ...]


class AdaptiveConv(nn.Module):
    """A 3x3 convolution whose nine samples spread evenly over the cell's anchor (section 3.2).

    A plain convolution looks at the same cells whatever became of the anchor; here features and anchor
    stay aligned. The offsets follow from the anchor and have no weights.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        nn.init.normal_(self.weight, std=0.01)

    def forward(
        self, maps: Float[Tensor, "B C H W"], anchors: Float[Tensor, "B HW 4"], stride: int
    ) -> Float[Tensor, "B D H W"]:
        """Convolve; ``anchors`` are ``xyxy`` in pixels of the network input, cell by cell."""
        offsets = anchor_offsets(anchors, (maps.shape[-2], maps.shape[-1]), stride)
        moved: Tensor = deform_conv2d(maps.float(), offsets, self.weight.float(), padding=1)
        return moved.to(maps.dtype)


def anchor_offsets(
    anchors: Float[Tensor, "B HW 4"], grid: tuple[int, int], stride: int
) -> Float[Tensor, "B 18 H W"]:
    """Return how far each of the nine samples moves from its regular place, in cells, y before x.

    Sample (i, j), each of -1, 0, 1, lies at the anchor's centre plus (i, j) thirds of its size.
    """
    rows, columns = grid
    device = anchors.device
    at = anchors.unflatten(1, grid) / stride  # B x H x W x 4
    centre, size = (at[..., :2] + at[..., 2:]) / 2, at[..., 2:] - at[..., :2]
    ys = torch.arange(rows, device=device, dtype=at.dtype)
    xs = torch.arange(columns, device=device, dtype=at.dtype)
    cell = torch.stack((xs.expand(rows, -1), ys[:, None].expand(-1, columns)), dim=-1)
    step = torch.arange(-1, 2, device=device, dtype=at.dtype)
    kernel = torch.stack(torch.meshgrid(step, step, indexing="ij"), dim=-1).flip(-1).reshape(9, 2)
    place = centre[..., None, :] + kernel * size[..., None, :] / 3  # B x H x W x 9 x (x, y)
    offset: Tensor = place - cell[..., None, :] - kernel
    return offset.flip(-1).flatten(3).permute(0, 3, 1, 2).contiguous()


class CascadeProposalNetwork(nn.Module):
    """Anchors refined in two stages, with features that follow them.

    The first stage, a dilated convolution, moves one square per cell; cells in the middle of a truth learn
    it. The second sees, through an adaptive convolution, what the first made of it, says whether it is an
    object and moves it again; here an anchor learns the truth it overlaps by 0.7.

    Args:
        channels: of every pyramid level.
        strides: of the levels, pixels per cell.
        sampler: of the second stage; default 256, half positive.
        limits: proposals at prediction.
        learning_limits: proposals in training.
    """

    def __init__(
        self,
        channels: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        *,
        sampler: BalancedSampler | None = None,
        limits: ProposalLimits | None = None,
        learning_limits: ProposalLimits | None = None,
    ) -> None:
        super().__init__()
        self.anchors = AnchorGrid(strides, [[8.0 * stride] for stride in strides], ratios=(1.0,))
        self.dilated = nn.Conv2d(channels, channels, 3, padding=3, dilation=3)
        self.first_deltas = nn.Conv2d(channels, 4, 1)
        self.adaptive = AdaptiveConv(channels, channels)
        self.second_deltas = nn.Conv2d(channels, 4, 1)
        self.objectness = nn.Conv2d(channels, 1, 1)
        for module in (self.dilated, self.first_deltas, self.second_deltas, self.objectness):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.first_coder = DeltaCoder((10.0, 10.0, 2.0, 2.0))
        self.coder = DeltaCoder((20.0, 20.0, 10.0, 10.0))
        self.assign_first = CentreRegionAssigner(strides)
        self.assign = MaxIoUAssigner(0.7, 0.7)
        self.sample = sampler or BalancedSampler(256, 0.5)
        self.box_loss = IoULoss("iou", BOX_WEIGHT)
        self.limits = limits or ProposalLimits(2000, 300, iou=0.8)
        self.learning_limits = learning_limits or ProposalLimits(2000, 300, iou=0.8)

    def forward(self, pyramid: Sequence[Tensor], image: tuple[int, int]) -> CascadeOutputs:
        """Compute both stages on feature maps of a network input of (height, width) ``image``."""
        grids = [(level.shape[-2], level.shape[-1]) for level in pyramid]
        lengths = tuple(rows * columns for rows, columns in grids)
        anchors = self.anchors(grids, image)
        bridged = [torch.relu(self.dilated(level)) for level in pyramid]
        first = torch.cat([flatten_cells(self.first_deltas(level), 1) for level in bridged], dim=1)
        refined = self.first_coder.decode(first.detach().float(), anchors)
        parts = zip(bridged, refined.split(lengths, dim=1), self.anchors.strides, strict=True)
        aligned = [torch.relu(self.adaptive(level, own, stride)) for level, own, stride in parts]
        second = torch.cat([flatten_cells(self.second_deltas(a), 1) for a in aligned], dim=1)
        objectness = torch.cat([flatten_cells(self.objectness(a), 1) for a in aligned], dim=1)
        return CascadeOutputs(anchors, first, refined, second, objectness[..., 0], lengths)

    def losses(self, outputs: CascadeOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``anchor_box`` of the first stage, ``objectness`` and ``proposal_box`` of the second.

        The first is divided by all anchors of the batch over 200, the others by the sampled ones.
        """
        early = self.assign_first(outputs.anchors, outputs.lengths, targets)
        match = self.assign(outputs.refined, targets)
        drawn = self.sample(match, draw_of(outputs.objectness))
        box_loss = self.box_loss(
            drawn.rows(outputs.second),
            drawn.rows(match.boxes_of(targets)),
            drawn.rows(outputs.refined),
            drawn.positive,
            self.coder,
        )
        count = normaliser(drawn.valid.sum())
        return {
            "anchor_box": self._early_loss(outputs, early, targets),
            "objectness": CLASS_WEIGHT * objectness_loss(outputs.objectness, drawn).sum() / count,
            "proposal_box": box_loss.sum() / count,
        }

    def _early_loss(self, outputs: CascadeOutputs, match: Assignment, targets: Targets) -> Tensor:
        loss = self.box_loss(
            outputs.first,
            match.boxes_of(targets),
            outputs.anchors,
            match.positive,
            self.first_coder,
        )
        return loss.sum() / (match.state.numel() / DENSE_SHARE)

    def propose(
        self, outputs: CascadeOutputs, sizes: Float[Tensor, "B 2"], *, learning: bool = False
    ) -> Proposals:
        """Return the best refined anchors, refined again and clipped to (height, width) ``sizes``."""
        limits = self.learning_limits if learning else self.limits
        return propose(
            outputs.objectness, outputs.second, outputs.refined, outputs.lengths, sizes, self.coder,
            limits,
        )  # fmt: skip
