"""From boxes to features of one size: RoIPool, RoIAlign, and the pyramid level that a region takes.

Both pools give what ``torchvision.ops`` gives, which serves on accelerators and in graphs that are
traced. RoIAlign runs on the CPU in a kernel of ours, forward and backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision.ops
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from gazehound.boxes.arrays import is_traced
from gazehound.errors import ConfigError
from gazehound.watching import show

Pool = Callable[[Tensor, Tensor, int], Tensor]
"""(features (B, C, H, W), rows (R, 5) of image and ``xyxy`` box, stride) -> (R, C, S, S)."""

FAR = -1e5  # pixels: a region out here pools to zeros and hands back no gradient
REGIONS_PER_THREAD = 32  # fewer are not worth a thread
CHANNELS_PER_THREAD = 32


class RoIPool:
    """Max pooling with its two roundings (Girshick 2015, section 2.1).

    The box is rounded to whole cells, and so are the edges of its S x S bins; an empty bin gives 0.

    Args:
        size: S.
    """

    def __init__(self, size: int = 7) -> None:
        self.size = size

    def __call__(
        self, features: Float[Tensor, "B C H W"], rows: Float[Tensor, "R 5"], stride: int
    ) -> Float[Tensor, "R C S S"]:
        """Pool regions of one map; ``rows`` hold the image and the ``xyxy`` box in input pixels."""
        pooled: Tensor = torchvision.ops.roi_pool(features.float(), rows, self.size, 1 / stride)
        return pooled.to(features.dtype)


class RoIAlign:
    """Averages of bilinear samples, nothing rounded (He et al. 2017, Mask R-CNN, section 3).

    Args:
        size: S, the pooled map is S x S.
        sampling: samples per bin and axis; 0 takes as many as a bin has cells, rounded up.
        aligned: cell centres at .5, as Detectron2 has it; torchvision's detectors do without.
    """

    def __init__(self, size: int = 7, sampling: int = 2, *, aligned: bool = False) -> None:
        self.size, self.sampling, self.aligned = size, sampling, aligned

    def __call__(
        self, features: Float[Tensor, "B C H W"], rows: Float[Tensor, "R 5"], stride: int
    ) -> Float[Tensor, "R C S S"]:
        """Pool regions of one map; ``rows`` hold the image and the ``xyxy`` box in input pixels."""
        if _fits_kernel(features):
            rule = _Rule(self.size, 1 / stride, self.sampling, self.aligned)
            pooled: Tensor = _KernelAlign.apply(features.float(), rows, rule)
        else:
            pooled = torchvision.ops.roi_align(
                features.float(), rows, self.size, 1 / stride, self.sampling, self.aligned
            )
        return pooled.to(features.dtype)


@dataclass(frozen=True)
class _Rule:
    """How RoIAlign samples: side of the pooled map, cells per pixel, samples, convention."""

    size: int
    scale: float
    sampling: int
    aligned: bool


class _KernelAlign(torch.autograd.Function):
    """RoIAlign of NumPy arrays that share their memory with the tensors."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rows: Tensor, rule: _Rule) -> Tensor:
        """Pool; the work is divided by regions."""
        from gazehound.kernels.roi_align import roi_align

        cells = features.detach().permute(0, 2, 3, 1).contiguous().numpy()  # B x H x W x C
        regions = np.ascontiguousarray(rows.detach().numpy(), np.float32)
        ctx.regions, ctx.rule, ctx.shape = regions, rule, cells.shape
        out = np.empty((len(regions), rule.size, rule.size, cells.shape[3]), np.float32)
        scale = np.float32(rule.scale)

        def part(a: int, b: int) -> None:
            roi_align(cells, regions[a:b], scale, rule.sampling, rule.aligned, out[a:b])

        _divided(part, len(regions), REGIONS_PER_THREAD)
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Hand gradients back; the work is divided by channels, so that no two threads meet."""
        from gazehound.kernels.roi_align import roi_align_backward

        rule, given = ctx.rule, gradient.detach().permute(0, 2, 3, 1).numpy()
        out = np.empty(ctx.shape, np.float32)
        scale = np.float32(rule.scale)

        def part(a: int, b: int) -> None:
            own = np.zeros((*ctx.shape[:3], b - a), np.float32)
            some = np.ascontiguousarray(given[..., a:b])
            roi_align_backward(some, ctx.regions, scale, rule.sampling, rule.aligned, own)
            out[..., a:b] = own

        _divided(part, ctx.shape[3], CHANNELS_PER_THREAD)
        return torch.from_numpy(out).permute(0, 3, 1, 2), None, None


def _divided(part: Callable[[int, int], None], count: int, least: int) -> None:
    """Call ``part(first, last)`` for spans of ``count`` things, in threads if there are enough."""
    threads = max(1, min(torch.get_num_threads(), count // least))
    if threads == 1:
        return part(0, count)
    edges = np.linspace(0, count, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, edges[:-1], edges[1:]))
    return None


def _fits_kernel(features: Tensor) -> bool:
    return features.device.type == "cpu" and not is_traced()


@dataclass(frozen=True)
class Pooled:
    """The step that a region pool shows.

    Attributes:
        pool: what pooled.
        boxes: (B, R, 4) ``xyxy`` in pixels of the network input.
        features: (B R, C, S, S) what came out.
    """

    pool: RegionPool
    boxes: Float[Tensor, "B R 4"]
    features: Float[Tensor, "BR C S S"]


class RegionPool:
    """Pools each region from the level of a pyramid that suits its size.

    Level k = floor(k0 + log2(sqrt(w h) / 224)), kept within the levels there are, where a level k has
    stride 2^k (Lin et al. 2017, Feature Pyramid Networks, equation 1). One stride means one map.

    Args:
        strides: of the maps pooled from, pixels per cell, finest first. A pyramid may have more maps;
            those are not pooled from.
        pool: a :class:`RoIAlign` or :class:`RoIPool`.
        k0: the level of a region of 224 x 224 pixels.

    Raises:
        ConfigError: a stride is not a power of two.
    """

    def __init__(
        self,
        strides: Sequence[int] = (4, 8, 16, 32),
        pool: RoIPool | RoIAlign | None = None,
        *,
        k0: int = 4,
    ) -> None:
        if not strides or any(s < 1 or s & (s - 1) for s in strides):
            raise ConfigError(f"pooling needs strides that are powers of two; got {tuple(strides)}")
        self.strides = tuple(strides)
        self.pool = pool or RoIAlign()
        self.k0 = k0

    @property
    def size(self) -> int:
        """Return S: a region becomes S x S cells."""
        return self.pool.size

    def levels(self, boxes: Float[Tensor, "*N 4"]) -> Int[Tensor, "*N"]:
        """Return the row of ``strides`` that each ``xyxy`` box is pooled from."""
        lowest, highest = (int(math.log2(s)) for s in (self.strides[0], self.strides[-1]))
        sides = boxes[..., 2:] - boxes[..., :2]
        root = torch.sqrt(sides[..., 0] * sides[..., 1])
        # The small number keeps a root of exactly 224 * 2^n on its own level, as torchvision has it.
        level = torch.floor(self.k0 + torch.log2(root / 224) + 1e-6)
        return level.nan_to_num(0.0).clamp(lowest, highest).long() - lowest

    def __call__(
        self, maps: Sequence[Tensor], boxes: Float[Tensor, "B R 4"]
    ) -> Float[Tensor, "BR C S S"]:
        """Pool (B, R, 4) boxes, in pixels of the network input, from maps (B, C, H/s, W/s)."""
        features = self._pooled(maps, boxes)
        if not is_traced():
            show(Pooled(self, boxes, features))
        return features

    def _pooled(self, maps: Sequence[Tensor], boxes: Float[Tensor, "B R 4"]) -> Tensor:
        rows = _rows_of(boxes)
        if len(self.strides) == 1:
            return self.pool(maps[0], rows, self.strides[0])
        levels = self.levels(boxes).flatten()
        if boxes.device.type == "cpu" and not is_traced():
            return self._sorted_by_level(maps, rows, levels)
        return self._all_levels(maps, rows, levels)

    def _sorted_by_level(self, maps: Sequence[Tensor], rows: Tensor, levels: Tensor) -> Tensor:
        """Pool each region once; the number of regions per level must be known, free on the host."""
        order = levels.argsort(stable=True)
        counts = torch.bincount(levels, minlength=len(self.strides)).tolist()
        used = zip(self.strides, rows[order].split(counts), maps[: len(self.strides)], strict=True)
        parts = [self.pool(level, part, stride) for stride, part, level in used if len(part)]
        if not parts:  # no region at all
            return maps[0].new_zeros(0, maps[0].shape[1], self.size, self.size)
        return torch.cat(parts)[order.argsort()]

    def _all_levels(self, maps: Sequence[Tensor], rows: Tensor, levels: Tensor) -> Tensor:
        """Pool on every level in fixed shapes: regions of other levels lie far outside and give zeros."""
        far = torch.cat((rows[:, :1], torch.full_like(rows[:, 1:], FAR)), dim=1)
        pooled = [
            self.pool(maps[number], rows.where((levels == number)[:, None], far), stride)
            for number, stride in enumerate(self.strides)
        ]
        return torch.stack(pooled).sum(dim=0)


def _rows_of(boxes: Float[Tensor, "B R 4"]) -> Float[Tensor, "BR 5"]:
    images = torch.arange(boxes.shape[0], device=boxes.device, dtype=torch.float32)
    column = images[:, None, None].expand(-1, boxes.shape[1], 1)
    return torch.cat((column, boxes.float()), dim=2).flatten(0, 1)
