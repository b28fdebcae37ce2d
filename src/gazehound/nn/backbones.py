"""Backbones: any timm network that gives features, by its timm name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn

from gazehound.errors import ConfigError, unknown_name
from gazehound.nn.blocks import group_norm

log = logging.getLogger(__name__)

NORMS = ("batch", "frozen", "group")


class Backbone(nn.Module):
    """A timm network cut into its feature maps.

    Args:
        name: a timm model name that supports ``features_only`` (``timm.list_models()``).
        strides: which maps to give, by their stride in pixels.
        pretrained: start from timm's ImageNet weights. When they cannot be reached the error says
            what to do; it never goes on silently with random weights.
        norm: ``batch`` (live BatchNorm), ``frozen`` (its statistics and affine terms fixed) or ``group``
            (GroupNorm). ``None`` means frozen when pretrained and live otherwise, since frozen random
            statistics do not train.
        norm_eps: overrides the norm layers' epsilon (torchvision's first COCO weights want 0).

    Attributes:
        channels: of each map given.
        strides: of each map given, pixels per cell.

    Raises:
        ConfigError: unknown name, strides that it does not have, or weights out of reach.
    """

    def __init__(
        self,
        name: str = "resnet50",
        strides: Sequence[int] = (8, 16, 32),
        *,
        pretrained: bool = False,
        norm: str | None = None,
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        norm = norm or ("frozen" if pretrained else "batch")
        if norm not in NORMS:
            raise unknown_name("norm of a backbone", norm, NORMS)
        if not timm.is_model(name):
            raise unknown_name("backbone (timm model)", name, timm.list_models())
        options = {"norm_layer": group_norm} if norm == "group" else {}
        self.body = _create(name, pretrained, strides, options)
        info: Any = self.body.feature_info
        self.channels: list[int] = info.channels()
        self.strides: list[int] = info.reduction()
        if norm == "frozen":
            self.body = freeze_batch_norm_2d(self.body)
        if norm_eps is not None:
            for module in self.body.modules():
                if isinstance(getattr(module, "eps", None), float):
                    setattr(module, "eps", norm_eps)  # noqa: B010  (norms of several classes)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the feature maps, finest first: each B x C x H/stride x W/stride."""
        maps: list[Tensor] = self.body(images)
        return maps


def _create(
    name: str, pretrained: bool, strides: Sequence[int], options: dict[str, Any]
) -> nn.Module:
    with torch.device("meta"):  # only its table of strides is wanted, not its weights
        probe: Any = timm.create_model(name, features_only=True, pretrained=False)
    reductions = probe.feature_info.reduction()
    missing = [s for s in strides if s not in reductions]
    if missing:
        raise ConfigError(f"backbone '{name}' has maps of strides {reductions}, not of {missing}")
    indices = tuple(len(reductions) - 1 - reductions[::-1].index(s) for s in strides)
    try:
        return timm.create_model(
            name, features_only=True, pretrained=pretrained, out_indices=indices, **options
        )
    except TypeError as error:
        raise ConfigError(
            f"backbone '{name}' does not take the options {options}: {error}"
        ) from None
    except Exception as error:
        if not pretrained:
            raise
        raise ConfigError(
            f"the pretrained weights of '{name}' cannot be reached ({type(error).__name__}: {error}). "
            "Either go on from random weights (--no-pretrained), or fetch them on a machine with a "
            "network and copy its Hugging Face cache (HF_HOME) here"
        ) from None
