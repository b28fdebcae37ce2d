"""Centres on a pyramid: what CenterNet2's first stage learns (Zhou, Koltun, Krähenbühl 2021, section 4).

No class is asked for: a truth is a peak of heat at its centre on the levels that suit its size. The
heat falls off with the squared distance in pixels, the same on all levels. Sides are learned at the
3 x 3 points around the centre on those levels. All in fixed shapes over M truths, L points, V levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.errors import ConfigError
from gazehound.nn.normaliser import normaliser
from gazehound.records import Targets

SIZES = ((0.0, 80.0), (64.0, 160.0), (128.0, 320.0), (256.0, 640.0), (512.0, float("inf")))
"""Half diagonals of the boxes that a level learns, pixels, both ends inclusive; they overlap."""
FAINTEST = 1e-4  # heat below it is 0


@dataclass(frozen=True)
class Places:
    """The points of a pyramid.

    Attributes:
        squares: (L, 4) ``xyxy``; a point is the middle of a square of the stride's side.
        grids: (height, width) of each level, cells.
        strides: of each level, pixels.
    """

    squares: Float[Tensor, "L 4"]
    grids: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]

    @property
    def points(self) -> tuple[Float[Tensor, " L"], Float[Tensor, " L"]]:
        """Return x and y of the points, pixels."""
        middle = (self.squares[:, :2] + self.squares[:, 2:]) / 2
        return middle[:, 0], middle[:, 1]


@dataclass(frozen=True)
class CentreTargets:
    """What the points of a batch learn.

    Attributes:
        heat: (B, L) in 0..1, 1 at peaks.
        peak: (B, M, V) index of each truth's point on each level.
        is_peak: (B, M, V) whether the level suits the truth.
        truth: (B, L) index of the truth whose sides a point learns, meaningful where ``positive``.
        positive: (B, L) points that learn sides.
    """

    heat: Float[Tensor, "B L"]
    peak: Int[Tensor, "B M V"]
    is_peak: Bool[Tensor, "B M V"]
    truth: Int[Tensor, "B L"]
    positive: Bool[Tensor, "B L"]


class CentreTargeter:
    """Turns truths into peaks and positives.

    Of several truths that want a point, the one with the nearest centre gets it, in units of its own
    heat's width; of those the smaller.

    Args:
        sizes: half diagonals (least, most) that each level learns, pixels.
        overlap: with a truth that a neighbour's box must keep for the neighbour to be warm.
        narrowest: least radius of the heat, pixels.

    Raises:
        ConfigError: a range of sizes is empty.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[float, float]] = SIZES,
        overlap: float = 0.8,
        narrowest: float = 4.0,
    ) -> None:
        if any(low > high for low, high in sizes):
            raise ConfigError(f"sizes must be (least, most); got {tuple(sizes)}")
        self.sizes = tuple(sizes)
        self.spread = 2 * ((1 - overlap) / (1 + overlap)) ** 2
        self.narrowest = narrowest

    @torch.no_grad()
    def __call__(self, places: Places, targets: Targets) -> CentreTargets:
        """Return what the points learn from a batch of truths; those without area teach nothing."""
        low, high = places.squares.new_tensor(self.sizes).unbind(dim=1)  # V
        size = targets.boxes[..., 2:] - targets.boxes[..., :2]
        valid = targets.valid & (size > 0).all(dim=2)
        half = (size.norm(dim=2) / 2)[..., None]  # B x M x 1
        suits = (half >= low) & (half <= high) & valid[..., None]  # B x M x V
        peak = self._peaks(places, targets.boxes)
        distance = self._distances(places, targets.boxes, peak)  # B x M x L
        distance = distance.masked_fill(~valid[..., None], torch.inf)
        heat = torch.exp(-distance.amin(dim=1))
        heat = heat.where(heat >= FAINTEST, 0.0)
        truth, positive = self._owners(places, targets.boxes, distance, suits)
        return CentreTargets(heat, peak, suits, truth, positive)

    def _peaks(self, places: Places, boxes: Float[Tensor, "B M 4"]) -> Int[Tensor, "B M V"]:
        """Return the point of the cell that holds each centre, on every level."""
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        first, found = 0, []
        for (rows, columns), stride in zip(places.grids, places.strides, strict=True):
            cell = (centre / stride).long().clamp(min=0)
            column, row = cell[..., 0].clamp(max=columns - 1), cell[..., 1].clamp(max=rows - 1)
            found.append(first + row * columns + column)
            first += rows * columns
        return torch.stack(found, dim=2)

    def _distances(
        self, places: Places, boxes: Float[Tensor, "B M 4"], peak: Int[Tensor, "B M V"]
    ) -> Float[Tensor, "B M L"]:
        """Return the squared distance of each point from each centre over the heat's squared radius."""
        x, y = places.points
        cx, cy = ((boxes[..., :2] + boxes[..., 2:]) / 2)[..., None, :].unbind(dim=3)  # B x M x 1
        squared = (x - cx) ** 2 + (y - cy) ** 2  # B x M x L
        squared = squared.scatter(2, peak, 0.0)
        area = (boxes[..., 2:] - boxes[..., :2]).prod(dim=2, keepdim=True)
        return squared / (self.spread * area).clamp(min=self.narrowest**2)

    def _owners(
        self,
        places: Places,
        boxes: Float[Tensor, "B M 4"],
        distance: Float[Tensor, "B M L"],
        suits: Bool[Tensor, "B M V"],
    ) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Return each point's truth and whether it has one: inside, near the centre, of a fit size."""
        x, y = places.points
        stride = places.squares[:, 2] - places.squares[:, 0]  # L
        x1, y1, x2, y2 = boxes[..., None, :].unbind(dim=3)  # B x M x 1
        inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)  # B x M x L
        mx, my = (
            (((low + high) / 2 / stride).floor() + 0.5)
            * stride  # of the cell that holds the centre
            for low, high in ((x1, x2), (y1, y2))
        )
        near = ((x - mx).abs() <= stride) & ((y - my).abs() <= stride)
        lengths = [rows * columns for rows, columns in places.grids]
        repeats = torch.tensor(lengths, device=boxes.device)
        fits = suits.repeat_interleave(repeats, dim=2, output_size=sum(lengths))
        wanted = distance.masked_fill(~(inside & near & fits), torch.inf)
        nearest = wanted.amin(dim=1, keepdim=True)  # B x 1 x L
        area = ((x2 - x1) * (y2 - y1)).expand_as(wanted)
        truth = area.masked_fill(wanted > nearest, torch.inf).argmin(dim=1)
        return truth, nearest[:, 0].isfinite()


class CentreHeatLoss:
    """The penalty-reduced focal loss of class-agnostic heat, in CenterNet2's form.

    Peaks and the rest weigh ``balance`` and ``1 - balance``; a point away from all peaks that is very
    sure of itself is left alone, since it is likely an object that nobody annotated.

    Normaliser: the number of peaks in the batch, at least 1.

    Args:
        balance: weight of the peaks, alpha.
        gamma: focusing power.
        beta: how much the heat around peaks forgives.
        weight: factor on the whole.
        sure: probability from which a point that is no peak is left alone.
    """

    def __init__(
        self,
        balance: float = 0.25,
        gamma: float = 2.0,
        beta: float = 4.0,
        weight: float = 0.5,
        sure: float = 0.85,
    ) -> None:
        self.balance, self.gamma, self.beta = balance, gamma, beta
        self.weight, self.sure = weight, sure

    def __call__(self, logits: Float[Tensor, "B L"], wanted: CentreTargets) -> Float[Tensor, ""]:
        """Return the loss of a batch."""
        logits = logits.float()
        at = torch.gather(logits, 1, wanted.peak.flatten(1))  # B x MV
        peaks = -(torch.sigmoid(-at) ** self.gamma) * F.logsigmoid(at)
        chance = torch.sigmoid(logits)
        rest = -((1 - wanted.heat) ** self.beta) * chance**self.gamma * F.logsigmoid(-logits)
        rest = rest * (chance < self.sure)
        of_peaks = (peaks * wanted.is_peak.flatten(1)).sum()
        total = self.balance * of_peaks + (1 - self.balance) * rest.sum()
        return self.weight * total / normaliser(wanted.is_peak.sum())
