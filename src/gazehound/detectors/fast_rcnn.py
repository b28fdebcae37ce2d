"""Fast R-CNN (Girshick 2015).

    image ─┬─ CNN ── one map ──────────────┐
           │                               ▼
           └─ selective search ── boxes ── RoIPool ── fc6 ── fc7 ──┬── K + 1 classes
                                                                   └── 4 deltas per class

The image goes through the convolutions once; each region is pooled from the map. Class and box are
learned together, in one network and one phase, from 64 regions of an image at a time.

Where to look is still another program's answer. The detector holds it, and asks it about the picture in
the network input: that is the picture that is learned from, whatever augmentation made it. Answers are
remembered (see ``features/proposal_store.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from gazehound.boxes.arrays import is_exported
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.detector import Proposer
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError, ExportError
from gazehound.features.proposal_store import ProposalStore
from gazehound.features.selective_search import SelectiveSearch
from gazehound.features.threads import in_threads
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.classic import ClassicBody, classic_parts, known_classic
from gazehound.nn.heads.box import BoxPredictor, StageBody
from gazehound.nn.heads.region import RegionHead
from gazehound.nn.losses.box import SmoothL1Loss
from gazehound.nn.pooling import RegionPool, RoIPool
from gazehound.nn.postprocess import Found, Limits
from gazehound.nn.proposals import Proposals
from gazehound.nn.samplers import BalancedSampler
from gazehound.nn.truncation import with_thin_layers
from gazehound.records import Classes, Targets


@dataclass(frozen=True)
class Looked:
    """What Fast R-CNN knows of a batch before it classifies regions.

    Attributes:
        maps: one feature map.
        proposals: where to look.
    """

    maps: list[Tensor]
    proposals: Proposals


class FastRCNN(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives one map.
        region: pools, classifies and refines regions.
        proposer: says where to look; its answers are remembered.
        proposals: regions per image.
        limits: what ``decode`` keeps.

    Raises:
        ConfigError: ``proposals`` is not positive.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        region: RegionHead,
        proposer: Proposer | None = None,
        proposals: int = 2000,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        if proposals < 1:
            raise ConfigError(f"proposals must be at least 1; got {proposals}")
        self.backbone, self.region = backbone, region
        self.proposer: Proposer = proposer or ProposalStore(SelectiveSearch())
        self.count = proposals
        self.limits = limits or Limits(iou=0.3)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Looked:
        """Compute the map of a batch, and ask where to look."""
        return Looked(self.backbone(images), self.propose(images))

    def losses(self, outputs: Looked, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` and ``box`` of sampled regions; the truths count as proposals, too."""
        regions = self.region.label(outputs.proposals.with_truths(targets), targets)  # 64 per image
        logits, deltas = self.region(outputs.maps, regions.boxes)
        return self.region.losses(logits, deltas, regions)

    def decode(self, outputs: Looked, sizes: Float[Tensor, "B 2"]) -> Found:
        """Classify and refine the proposals, suppress per class."""
        proposals = outputs.proposals.shortened()
        return self.region.detect(outputs.maps, proposals, sizes, self.limits)

    @torch.no_grad()
    def propose(self, images: Float[Tensor, "B 3 H W"]) -> Proposals:
        """Ask the proposer about the pictures in a batch of network inputs; pads to ``count``.

        Raises:
            ExportError: a graph is recorded, which cannot hold the proposer.
        """
        if is_exported():
            raise ExportError(
                "Fast R-CNN asks selective search where to look, which no graph can hold: it cannot be "
                "exported"
            )
        found = in_threads(
            lambda picture: self.proposer.propose(picture, self.count),
            pictures_in(images, self.preprocess),
        )
        boxes = torch.zeros(len(images), self.count, 4)
        valid = torch.zeros(len(images), self.count, dtype=torch.bool)
        for row, own in enumerate(found):
            boxes[row, : len(own)] = torch.from_numpy(own)
            valid[row, : len(own)] = True
        boxes, valid = boxes.to(images.device), valid.to(images.device)
        return Proposals(boxes, valid.to(boxes.dtype), valid)


def pictures_in(
    images: Float[Tensor, "B 3 H W"], preprocess: Preprocess
) -> list[NDArray[np.uint8]]:
    """Return the uint8 RGB pictures that normalised network inputs were made of, without padding.

    The padding at the right and bottom is exactly zero; a picture's own pixel never is in all three
    channels when the mean colour lies between whole grey values, as ImageNet's does. (With another mean a
    border of just that colour is taken for padding, and no proposal reaches into it.)
    """
    mean, std = (
        torch.tensor(numbers)[:, None, None] for numbers in (preprocess.mean, preprocess.std)
    )
    pictures = []
    for image in images.detach().float().cpu():
        filled = (image != 0).any(dim=0)  # H x W
        height, width = (_end(filled.any(dim=axis)) for axis in (1, 0))
        pixels = (image[:, :height, :width] * std + mean) * 255
        picture = pixels.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
        pictures.append(np.ascontiguousarray(picture.numpy()))
    return pictures


def _end(filled: Tensor) -> int:
    """Return the length up to the last filled place, at least 1."""
    places = torch.nonzero(filled)
    return int(places[-1]) + 1 if len(places) else 1


def assembled(
    classes: Classes,
    preprocess: Preprocess | None,
    backbone: nn.Module,
    pool: RegionPool,
    body: ClassicBody | StageBody,
    *,
    regions: int = 64,
    background: float = 0.1,
    proposals: int = 2000,
    search: Mapping[str, Any] | None = None,
    file: str | None = None,
    svd: Sequence[int] = (),
    limits: Mapping[str, Any] | None = None,
) -> FastRCNN:
    """Put the parts that differ between variants together with those that do not.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs; the paper: 600 pixels, at most 1,000.
        backbone: gives one map.
        pool: makes features of one size of each region.
        body: from those to numbers; ``body.channels`` of them.
        regions: that learn, per image; a quarter of them with an object if there are so many.
        background: lowest IoU with an object of a region that learns to be background.
        proposals: per image.
        search: arguments of :class:`SelectiveSearch`.
        file: proposals computed before, written by :meth:`ProposalStore.save`; pictures that it does not
            hold go to selective search.
        svd: ranks of the fully connected layers of a network that was compressed.
        limits: fields of :class:`Limits` that differ from Fast R-CNN's.
    """
    predictor = BoxPredictor(body.channels, len(classes))
    head = RegionHead(
        pool,
        with_thin_layers(body, svd, keep_weights=False) if svd else body,
        predictor,
        assigner=MaxIoUAssigner(0.5, 0.5, keep_best=False, floor=background),
        sampler=BalancedSampler(regions, 0.25),
        box_loss=SmoothL1Loss(1.0),
    )
    return FastRCNN(
        classes,
        preprocess or Preprocess(size=600, largest=1000, multiple=16),
        backbone,
        head,
        ProposalStore(SelectiveSearch(**(search or {})), file),
        proposals,
        Limits(**{"iou": 0.3, **(limits or {})}),
    )


def fast_rcnn_classic(
    classes: Classes,
    *,
    name: str = "vgg16",
    preprocess: Preprocess | None = None,
    pretrained: bool | str = False,
    hidden: int = 4096,
    **rest: Any,
) -> FastRCNN:
    """Build Fast R-CNN on AlexNet or VGG16, RoIPool and the two fully connected layers.

    Args:
        classes: names and ids.
        name: ``alexnet`` or ``vgg16``.
        preprocess: how images become network inputs.
        pretrained: start from ImageNet weights; a path is a file of torchvision's.
        hidden: width of the fully connected layers.
        rest: see :func:`assembled`.
    """
    pool = RegionPool((16,), RoIPool(known_classic(name).cells))
    trunk, body = classic_parts(name, pretrained=pretrained, hidden=hidden)
    return assembled(classes, preprocess, trunk, pool, body, **rest)


def fast_rcnn_c4(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    cells: int = 14,
    **rest: Any,
) -> FastRCNN:
    """Fast R-CNN on a ResNet: stages 1 to 3 see the image, stage 4 each region of ``cells`` squared."""
    body = Backbone(backbone, (16,), pretrained=pretrained, norm=norm)
    stage = StageBody(backbone, pretrained=pretrained, norm=norm)
    pool = RegionPool((16,), RoIPool(cells))
    return assembled(classes, preprocess, body, pool, stage, **rest)


def fast_rcnn_alexnet(classes: Classes, **options: Any) -> FastRCNN:
    """Fast R-CNN on AlexNet: the paper's model S."""
    return fast_rcnn_classic(classes, **{"name": "alexnet", **options})


def fast_rcnn_vgg16(classes: Classes, **options: Any) -> FastRCNN:
    """Fast R-CNN on VGG16: the paper's model L."""
    return fast_rcnn_classic(classes, **{"name": "vgg16", **options})


def compressed(detector: FastRCNN, ranks: Sequence[int]) -> FastRCNN:
    """Return a detector whose fully connected layers are cut by SVD; the paper's ranks are 1,024 and 256.

    Its checkpoint needs the argument ``svd=ranks``, so that it is rebuilt in this form.

    Raises:
        ConfigError: there are not as many fully connected layers as ranks.
    """
    old = detector.region
    head = RegionHead(
        old.pool,
        with_thin_layers(old.body, ranks),
        old.predictor,
        coder=old.coder,
        assigner=old.assign,
        sampler=old.sample,
        class_loss=old.class_loss,
        box_loss=old.box_loss,
    )
    parts = detector.backbone, head, detector.proposer, detector.count, detector.limits
    return FastRCNN(detector.classes, detector.preprocess, *parts)
