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
        output_stride: dilate the last stages, so that no map is coarser than this (DC5 wants 16).

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
        output_stride: int | None = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"features_only": True}
        if output_stride is not None:
            options["output_stride"] = output_stride
        options["out_indices"] = _indices(name, strides, options)
        self.body = timm_network(
            name, pretrained=pretrained, norm=norm, norm_eps=norm_eps, **options
        )
        info: Any = self.body.feature_info
        self.channels: list[int] = info.channels()
        self.strides: list[int] = info.reduction()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the feature maps, finest first: each B x C x H/stride x W/stride."""
        maps: list[Tensor] = self.body(images)
        return maps


def timm_network(
    name: str,
    *,
    pretrained: bool = False,
    norm: str | None = None,
    norm_eps: float | None = None,
    **options: Any,
) -> Any:
    """Create a timm network whose norms are as asked for.

    Args:
        name: a timm model name.
        pretrained: as in :class:`Backbone`.
        norm: as in :class:`Backbone`.
        norm_eps: as in :class:`Backbone`.
        options: of ``timm.create_model``.

    Raises:
        ConfigError: unknown name, or weights out of reach, or an option it does not take.
    """
    norm = norm or ("frozen" if pretrained else "batch")
    if norm not in NORMS:
        raise unknown_name("norm of a backbone", norm, NORMS)
    _need_known(name)
    if norm == "group":
        options["norm_layer"] = group_norm
    network = _create(name, pretrained, options)
    if norm == "frozen":
        network = freeze_batch_norm_2d(network)
    if norm_eps is not None:
        for module in network.modules():
            if isinstance(getattr(module, "eps", None), float):
                setattr(module, "eps", norm_eps)  # noqa: B010  (norms of several classes)
    return network


def _need_known(name: str) -> None:
    if not timm.is_model(name):
        raise unknown_name("backbone (timm model)", name, timm.list_models())


def _indices(name: str, strides: Sequence[int], options: dict[str, Any]) -> tuple[int, ...]:
    """Return which of the network's maps have these strides; of several, the last."""
    _need_known(name)
    with torch.device("meta"):  # only its table of strides is wanted, not its weights
        probe = _create(name, False, options)
    reductions, places = probe.feature_info.reduction(), probe.feature_info.out_indices
    missing = [s for s in strides if s not in reductions]
    if missing:
        raise ConfigError(f"backbone '{name}' has maps of strides {reductions}, not of {missing}")
    return tuple(places[len(reductions) - 1 - reductions[::-1].index(s)] for s in strides)


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
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
