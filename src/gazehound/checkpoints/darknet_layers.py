"""Our YOLOs as Darknet's list of layers: the order of the official cfg files and of their weights.

A layer that holds numbers is listed with the module that holds them, so the list writes cfg files,
checks them, and walks through a weight file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain

from torch import nn

from gazehound.checkpoints.darknet_cfg import Section
from gazehound.detectors.yolov3 import YOLOv3
from gazehound.detectors.yolov4 import YOLOv4
from gazehound.nn.blocks import ConvNorm
from gazehound.nn.darknet import (
    CSPDarkNet53,
    CSPStage,
    DarkNet53,
    OneShotStage,
    Residual,
    TinyCSPDarkNet,
    TinyDarkNet,
)
from gazehound.nn.necks.darknet import Lift, PyramidPooling, TinyNeck, YOLOv3Neck, YOLOv4Neck

YOLO = YOLOv3 | YOLOv4
Convolution = ConvNorm | nn.Conv2d


@dataclass
class Layers:
    """The list under construction; each method adds a layer and returns its number.

    Attributes:
        sections: the layers behind ``[net]``.
        convolutions: the module of each ``[convolutional]``, in order.
    """

    sections: list[Section] = field(default_factory=list)
    convolutions: list[Convolution] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Return the number of the last layer."""
        return len(self.sections) - 1

    def before(self, layer: int) -> list[Convolution]:
        """Return the modules of the convolutions among the first layers."""
        count = sum(section.kind == "convolutional" for section in self.sections[:layer])
        return self.convolutions[:count]

    def add(self, kind: str, **options: object) -> int:
        """Add a layer."""
        text = {key: str(value) for key, value in options.items()}
        self.sections.append(Section(kind, text))
        return self.last

    def convolve(self, module: Convolution) -> int:
        """Add a convolution, with its norm and activation if it has them."""
        layer = module.conv if isinstance(module, ConvNorm) else module
        act = _activation(module)
        norm = {"batch_normalize": 1} if isinstance(module, ConvNorm) else {}
        self.convolutions.append(module)
        return self.add(
            "convolutional",
            **norm,
            filters=layer.out_channels,
            size=layer.kernel_size[0],
            stride=layer.stride[0],
            pad=1,
            activation=act,
        )

    def chain(self, modules: Iterable[nn.Module]) -> int:
        """Add modules that follow one another."""
        for module in modules:
            WRITERS[type(module)](self, module)
        return self.last

    def route(self, *layers: int, **options: object) -> int:
        """Add a route from layers by their numbers, written relative to it."""
        here = len(self.sections)
        return self.add("route", layers=",".join(str(i - here) for i in layers), **options)

    def shortcut(self, layer: int) -> int:
        """Add the sum of the last layer and another one."""
        return self.add("shortcut", **{"from": layer - len(self.sections)}, activation="linear")


def _activation(module: Convolution) -> str:
    names = {nn.LeakyReLU: "leaky", nn.Mish: "mish"}
    return names[type(module.act)] if isinstance(module, ConvNorm) else "linear"


def layers_of(detector: YOLO) -> Layers:
    """Return the layers of a detector."""
    layers = Layers()
    maps = BACKBONES[type(detector.backbone)](layers, detector.backbone)
    NECKS[type(detector.neck)](layers, detector, detector.neck, maps)
    return layers


def _residual(layers: Layers, block: Residual) -> None:
    start = layers.last
    layers.convolve(block.squeeze)
    layers.convolve(block.expand)
    layers.shortcut(start)


def _csp_stage(layers: Layers, stage: CSPStage) -> None:
    down = layers.convolve(stage.down)
    past = layers.convolve(stage.past)
    layers.route(down)
    layers.convolve(stage.enter)
    layers.chain(stage.blocks)
    leave = layers.convolve(stage.leave)
    layers.route(leave, past)
    layers.convolve(stage.join)


def _one_shot(layers: Layers, stage: OneShotStage) -> int:
    enter = layers.convolve(stage.enter)
    layers.route(enter, groups=2, group_id=1)
    first = layers.convolve(stage.first)
    second = layers.convolve(stage.second)
    layers.route(second, first)
    joined = layers.convolve(stage.join)
    layers.route(enter, joined)
    _pool(layers, 2)
    return joined


def _pooling(layers: Layers, pooling: PyramidPooling) -> None:
    """The smallest window first, as the official files have it; the concatenation turns them round."""
    start = layers.last
    pools: list[int] = []
    for window in reversed(pooling.windows):
        if pools:
            layers.route(start)
        pools.append(_pool(layers, window, stride=1))
    layers.route(*reversed(pools), start)


def _pool(layers: Layers, size: int, stride: int = 2) -> int:
    return layers.add("maxpool", size=size, stride=stride)


WRITERS: dict[type, Callable[..., object]] = {
    ConvNorm: Layers.convolve,
    nn.Conv2d: Layers.convolve,
    nn.Sequential: Layers.chain,
    Residual: _residual,
    CSPStage: _csp_stage,
    PyramidPooling: _pooling,
}


def _stages(layers: Layers, body: DarkNet53 | CSPDarkNet53) -> list[int]:
    layers.convolve(body.stem)
    return [layers.chain([stage]) for stage in body.stages][2:]


def _tiny(layers: Layers, body: TinyDarkNet) -> list[int]:
    maps = []
    for position, layer in enumerate(body.layers):
        if position:
            _pool(layers, 2, stride=1 if position == 6 else 2)
        maps.append(layers.chain([layer]))
    return [maps[4], maps[6]]


def _tiny_csp(layers: Layers, body: TinyCSPDarkNet) -> list[int]:
    layers.chain(body.stem)
    joined = [_one_shot(layers, stage) for stage in body.stages if isinstance(stage, OneShotStage)]
    return [joined[-1], layers.convolve(body.last)]


def _head(layers: Layers, detector: YOLO, level: int) -> None:
    layers.chain([detector.head.widen[level], detector.head.numbers[level]])
    cells = detector.cells
    layers.add(
        "yolo",
        mask=",".join(map(str, cells.masks[level])),
        anchors=",".join(f"{side:g}" for side in chain.from_iterable(cells.anchors)),
        classes=len(detector.classes),
        num=len(cells.anchors),
        scale_x_y=f"{detector.coder.scales[level]:g}",
    )


def _lift(layers: Layers, lift: Lift) -> int:
    layers.convolve(lift.squeeze)
    return layers.add("upsample", stride=2)


def _yolov3_neck(layers: Layers, detector: YOLO, neck: YOLOv3Neck, maps: list[int]) -> None:
    c3, c4, _ = maps
    p5 = layers.chain(neck.p5)
    _head(layers, detector, 2)
    layers.route(p5)
    layers.route(_lift(layers, neck.lift5), c4)
    p4 = layers.chain(neck.p4)
    _head(layers, detector, 1)
    layers.route(p4)
    layers.route(_lift(layers, neck.lift4), c3)
    layers.chain(neck.p3)
    _head(layers, detector, 0)


def _yolov4_neck(layers: Layers, detector: YOLO, neck: YOLOv4Neck, maps: list[int]) -> None:
    c3, c4, _ = maps
    p5 = layers.chain(neck.p5)
    lifted = _lift(layers, neck.lift5)
    layers.route(c4)
    layers.route(layers.convolve(neck.side4), lifted)
    p4 = layers.chain(neck.p4)
    lifted = _lift(layers, neck.lift4)
    layers.route(c3)
    layers.route(layers.convolve(neck.side3), lifted)
    p3 = layers.chain(neck.p3)
    _head(layers, detector, 0)
    layers.route(p3)
    layers.route(layers.convolve(neck.down3), p4)
    n4 = layers.chain(neck.n4)
    _head(layers, detector, 1)
    layers.route(n4)
    layers.route(layers.convolve(neck.down4), p5)
    layers.chain(neck.n5)
    _head(layers, detector, 2)


def _tiny_neck(layers: Layers, detector: YOLO, neck: TinyNeck, maps: list[int]) -> None:
    p5 = layers.convolve(neck.p5)
    _head(layers, detector, 1)
    layers.route(p5)
    layers.route(_lift(layers, neck.lift5), maps[0])
    _head(layers, detector, 0)


BACKBONES: dict[type, Callable[..., list[int]]] = {
    DarkNet53: _stages,
    CSPDarkNet53: _stages,
    TinyDarkNet: _tiny,
    TinyCSPDarkNet: _tiny_csp,
}
NECKS: dict[type, Callable[..., None]] = {
    YOLOv3Neck: _yolov3_neck,
    YOLOv4Neck: _yolov4_neck,
    TinyNeck: _tiny_neck,
}
