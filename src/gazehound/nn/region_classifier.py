"""The network of R-CNN: a classifier of warped regions, with two places to take features from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gazehound.errors import ConfigError, TrainingError
from gazehound.nn.backbones import timm_network
from gazehound.nn.classic import CLASSICS, classic_network
from gazehound.nn.warping import warp

CHUNK = 64  # warped regions that go through the network together
POOLED = 3  # a timm network's last map is pooled to 3 x 3 cells for the box regression


class RegionClassifier(nn.Module):
    """AlexNet, VGG16 or any timm network with K + 1 outputs, the background last.

    Args:
        name: ``alexnet``, ``vgg16`` or a timm name.
        classes: K.
        pretrained: start from ImageNet; a path is a file of torchvision's weights (the two classics).
        hidden: width of fc6 and fc7 of the two classics.

    Attributes:
        classes: K.
        side: of the warped regions, pixels: 227 for AlexNet, else 224.
    """

    def __init__(
        self, name: str, classes: int, *, pretrained: bool | str = False, hidden: int = 4096
    ) -> None:
        super().__init__()
        self.classes, self.classic = classes, name in CLASSICS
        self.side = CLASSICS[name].side if self.classic else 224
        outputs = classes + 1
        if self.classic:
            self.network: Any = classic_network(
                name, pretrained=pretrained, hidden=hidden, outputs=outputs
            )
        elif isinstance(pretrained, str):
            raise ConfigError(f"a file of weights serves {', '.join(CLASSICS)}; got '{name}'")
        else:
            norm = "batch"  # its statistics adapt to warped regions while the network is fine-tuned
            self.network = timm_network(name, pretrained=pretrained, norm=norm, num_classes=outputs)

    @property
    def device(self) -> torch.device:
        """Return where the network is."""
        return next(self.parameters()).device

    def forward(self, regions: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N K1"]:
        """Return the class logits of warped regions."""
        logits: Tensor = self.network(regions)
        return logits

    def features(
        self, regions: Float[Tensor, "N 3 S S"]
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N E"], Float[Tensor, "N K1"]]:
        """Return what the SVMs see (fc7), what the box regression sees (pool5), and the logits."""
        if self.classic:
            pool5 = self.network.avgpool(self.network.features(regions)).flatten(1)
            fc7 = self.network.classifier[:-1](pool5)
            return fc7, pool5, self.network.classifier[-1](fc7)
        cells = self.network.forward_features(regions)
        fc7 = self.network.forward_head(cells, pre_logits=True)
        pool5 = F.adaptive_avg_pool2d(cells, POOLED).flatten(1)
        return fc7, pool5, self.network.get_classifier()(fc7)

    @torch.inference_mode()
    def describe(
        self, image: Float[Tensor, "3 H W"], boxes: Float[Tensor, "R 4"], context: int
    ) -> tuple[Float[Tensor, "R D"], Float[Tensor, "R E"], Float[Tensor, "R K1"]]:
        """Warp regions of a normalised image and return :meth:`features` of them, a few at a time."""
        parts = boxes.split(CHUNK)  # one empty part where there is no region
        chunks = [self.features(warp(image, part, self.side, context)) for part in parts]
        fc7, pool5, logits = (torch.cat(column).float() for column in zip(*chunks, strict=True))
        return fc7, pool5, logits


@dataclass(frozen=True)
class FineTuning:
    """How the network learns to tell regions from background (Girshick et al. 2014, section 2.3).

    Attributes:
        steps: of SGD; the learning rate falls tenfold after two thirds of them.
        batch: regions per step.
        positive: of these, regions with an object.
        lr: learning rate.
        momentum: of SGD.
        decay: of the weights.

    Raises:
        ConfigError: a value is out of its range.
    """

    steps: int = 2000
    batch: int = 128
    positive: int = 32
    lr: float = 0.001
    momentum: float = 0.9
    decay: float = 0.0005

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 < self.positive <= self.batch or self.lr <= 0:
            raise ConfigError(
                "fine-tuning needs steps of at least 0, positive in 1..batch and a learning rate "
                f"above 0; got {self.steps}, {self.positive} of {self.batch}, {self.lr}"
            )


Draw = Callable[[], tuple[Float[Tensor, "N 3 S S"], Int[Tensor, " N"]]]


def fine_tune(
    network: RegionClassifier, draw: Draw, rules: FineTuning, steps: Iterable[int]
) -> list[float]:
    """Train the network on drawn regions.

    Args:
        network: trained in place, and left in evaluation mode.
        draw: gives a batch of warped regions and their labels, K for background.
        rules: of the training.
        steps: what to walk through: ``range(rules.steps)``, or a progress bar over it.

    Returns:
        The loss of every step.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        weights, rules.lr, momentum=rules.momentum, weight_decay=rules.decay
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, 2 * rules.steps // 3))
    network.train()
    history = []
    for step in steps:
        regions, labels = draw()
        loss = F.cross_entropy(network(regions).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(float(loss.detach()))
        if not history[-1] < float("inf"):
            raise TrainingError(f"fine-tuning: the loss is {history[-1]} at step {step}")
    network.eval()
    return history
