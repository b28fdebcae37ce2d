"""The localizer slid over a pyramid of images (Sermanet et al. 2014, OverFeat, sections 3.3 and 4).

    image ─┬─ x 1.00 ── CNN ── map ── windows of G x G cells ──┬── softmax, K classes and a background
           ├─ x 0.71 ── CNN ── map ── windows of G x G cells   └── 4 deltas from the window
           ├─ x 0.50 ── ...
           └─ ...

A window of fixed size sees small objects in large images and large objects in small ones. Most windows
show no object, so there is one more class, and the box is learned only where an object is. Every batch
learns from as many windows with objects as it has, up to half, and fills up with background.

Windows share all convolutions: a layer that is fully connected to one window is a convolution over the
map, which is why thousands of windows cost little more than the image (see ``nn/heads/window.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.blocks import flatten_cells
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.heads.window import WindowHead
from gazehound.nn.losses.box import BoxLoss, SmoothL1Loss
from gazehound.nn.losses.regions import SoftmaxClasses
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, decode_dense
from gazehound.nn.samplers import BalancedSampler, draw_of
from gazehound.records import Classes, Targets


@dataclass(frozen=True)
class Windows:
    """What the network says of every window of the pyramid.

    Attributes:
        logits: (B, L, K + 1) class logits, the background last.
        deltas: (B, L, 4) box deltas from the windows.
        boxes: (L, 4) the windows, ``xyxy`` in pixels of the network input.
        lengths: windows per level; they sum to L.
    """

    logits: Float[Tensor, "B L K1"]
    deltas: Float[Tensor, "B L 4"]
    boxes: Float[Tensor, "L 4"]
    lengths: tuple[int, ...]


class SlidingWindow(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives one map.
        head: looks at windows of G x G cells of it; K + 1 logits.
        scales: of the pyramid's images, relative to the network input.
        assigner: default IoU 0.5 / 0.4, and the best window of every object.
        sampler: which windows learn; default 128 per image, at most half of them with objects.
        coder: default deltas over a tenth and a fifth of the window.
        class_loss: default cross-entropy over K + 1.
        box_loss: default smooth L1 with beta 1.
        limits: what ``decode`` keeps.

    Raises:
        ConfigError: there is no scale, or one that is not positive.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: Backbone,
        head: WindowHead,
        scales: Sequence[float] = (1.0, 0.71, 0.5, 0.35, 0.25),
        *,
        assigner: MaxIoUAssigner | None = None,
        sampler: BalancedSampler | None = None,
        coder: DeltaCoder | None = None,
        class_loss: SoftmaxClasses | None = None,
        box_loss: BoxLoss | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        if not scales or min(scales) <= 0:
            raise ConfigError(f"a pyramid needs positive scales; got {tuple(scales)}")
        self.backbone, self.head, self.scales = backbone, head, tuple(scales)
        self.stride = backbone.strides[-1]
        self.assign = assigner or MaxIoUAssigner(0.5, 0.4)
        self.sample = sampler or BalancedSampler(128, 0.5)
        self.coder = coder or DeltaCoder((10.0, 10.0, 5.0, 5.0))
        self.class_loss = class_loss or SoftmaxClasses()
        self.box_loss = box_loss or SmoothL1Loss(1.0)
        self.limits = limits or Limits()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Windows:
        """Look at every window of every image of the pyramid."""
        logits, deltas, boxes = [], [], []
        for scale in self.scales:
            level = self._resized(images, scale)
            outputs = self.head(self.backbone(level)[-1])  # B x K+1 x h x w, B x 4 x h x w
            logits.append(flatten_cells(outputs[0], 1))
            deltas.append(flatten_cells(outputs[1], 1))
            boxes.append(self._windows(outputs[1], level, images))
        lengths = tuple(len(windows) for windows in boxes)
        return Windows(torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(boxes), lengths)

    def _resized(self, images: Tensor, scale: float) -> Tensor:
        """Return the images at a scale, in whole cells, and never smaller than a window."""
        sides = [max(round(n * scale / self.stride), self.head.cells) for n in images.shape[-2:]]
        size = [side * self.stride for side in sides]
        if size == list(images.shape[-2:]):
            return images
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)

    def _windows(self, outputs: Tensor, level: Tensor, images: Tensor) -> Float[Tensor, "L 4"]:
        """Return the windows of a level, row by row, in pixels of the network input."""
        rows, columns = (
            torch.arange(n, device=images.device, dtype=torch.float32) for n in outputs.shape[-2:]
        )
        corners = torch.cartesian_prod(rows, columns)[:, [1, 0]]  # hw x 2, in cells
        windows = torch.cat((corners, corners + self.head.cells), dim=1) * self.stride
        ratio = [images.shape[axis] / level.shape[axis] for axis in (3, 2)]
        return windows * windows.new_tensor((*ratio, *ratio))

    def losses(self, outputs: Windows, targets: Targets) -> dict[str, Tensor]:
        """Return ``class``, a mean over the sampled windows, and ``box``, over those with an object."""
        match = self.assign(outputs.boxes, targets)
        drawn = self.sample(match, draw_of(outputs.logits))
        labels = drawn.rows(match.labels_of(targets))
        class_loss = self.class_loss(drawn.rows(outputs.logits), labels, drawn.positive)
        windows = outputs.boxes.expand(len(outputs.logits), -1, -1)
        box_loss = self.box_loss(
            drawn.rows(outputs.deltas),
            drawn.rows(match.boxes_of(targets)),
            drawn.rows(windows),
            drawn.positive,
            self.coder,
        )
        return {
            "class": (class_loss * drawn.valid).sum() / normaliser(drawn.valid.sum()),
            "box": box_loss.sum() / normaliser(drawn.positive.sum()),
        }

    def decode(self, outputs: Windows, sizes: Float[Tensor, "B 2"]) -> Found:
        """Keep the best windows per level, move their boxes, suppress per class."""
        scores = self.class_loss.scores(outputs.logits)  # B x L x K
        centres = (outputs.boxes[:, :2] + outputs.boxes[:, 2:]) / 2
        inside = (centres < sizes[:, None, [1, 0]]).all(dim=2)  # the padding holds no object
        return decode_dense(
            scores * inside[..., None],
            outputs.deltas,
            outputs.boxes,
            outputs.lengths,
            sizes,
            self.coder,
            self.limits,
        )


def sliding_window(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet18",
    pretrained: bool = False,
    norm: str | None = None,
    window: int = 64,
    stride: int = 16,
    levels: int = 6,
    largest: float = 1.0,
    per_octave: int = 2,
    hidden: int = 256,
    limits: Mapping[str, Any] | None = None,
) -> SlidingWindow:
    """Build a sliding-window detector on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        window: its side in pixels; a multiple of ``stride``.
        stride: pixels between windows, and the stride of the map they are seen on.
        levels: images of the pyramid.
        largest: scale of its first image; 2 finds objects half as large as the window.
        per_octave: levels from one scale to half of it.
        hidden: width of the layer that looks at a window.
        limits: fields of :class:`Limits` that differ from its defaults.

    Raises:
        ConfigError: the window is not a multiple of the stride.
    """
    if window < stride or window % stride:
        raise ConfigError(f"window must be a multiple of stride ({stride}); got {window}")
    body = Backbone(backbone, (stride,), pretrained=pretrained, norm=norm)
    return SlidingWindow(
        classes,
        preprocess or Preprocess(),
        body,
        WindowHead(body.channels[-1], len(classes) + 1, window // stride, hidden),
        [largest * 2 ** (-level / per_octave) for level in range(levels)],
        limits=Limits(**(limits or {})),
    )


def sliding_window_r18(classes: Classes, **options: Any) -> SlidingWindow:
    """The sliding-window detector on ResNet-18: windows of 64 pixels every 16, six scales."""
    return sliding_window(classes, **{"backbone": "resnet18", **options})
