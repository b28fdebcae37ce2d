"""RetinaNet beside torchvision's, in one process, turn by turn: python benchmarks/retinanet.py

Three comparisons; each prints both medians and the ratio torchvision / gazehound (over 1: gazehound is
faster). Weights and inputs are random; the two networks of a latency comparison have the same weights.

    latency   array to boxes, ResNet-50, 640x480 picture at 800 px, batch 1
    step      one training step of the same architecture, ResNet-50, batch 2, 320 px
    recipe    one training step as the BCCD tutorial runs it, ResNet-18, batch 4, 416 px:
              gazehound's ``retinanet_r18`` against torchvision's modules on ResNet-18 (256 channels)
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import gazehound
from gazehound.checkpoints.torchvision import import_retinanet
from gazehound.data.batching import pad_targets
from gazehound.records import Classes


def interleave(pairs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Run the contestants turn by turn, once to warm up, and return each one's median seconds."""
    times: dict[str, list[float]] = {name: [] for name in pairs}
    for turn in range(repeats + 1):
        for name, run in pairs.items():
            began = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def report(what: str, medians: dict[str, float]) -> None:
    theirs, ours = medians["torchvision"], medians["gazehound"]
    print(
        f"{what:<10} torchvision {theirs * 1e3:8.0f} ms   gazehound {ours * 1e3:8.0f} ms   "
        f"ratio {theirs / ours:.2f}",
        flush=True,
    )


def latency(repeats: int) -> None:
    torch.manual_seed(0)
    theirs = retinanet_resnet50_fpn(weights=None, weights_backbone=None).eval()
    ours, _ = import_retinanet(theirs.state_dict(), "retinanet_r50")
    picture = torch.randint(0, 256, (480, 640, 3), dtype=torch.uint8)
    as_tensor = picture.permute(2, 0, 1) / 255

    def run_theirs() -> object:
        with torch.inference_mode():
            return theirs([as_tensor])

    ours.eval().to(memory_format=torch.channels_last)
    runs = {"torchvision": run_theirs, "gazehound": lambda: ours.predict([picture.numpy()])}
    report("latency", interleave(runs, repeats))


def torchvision_step(model: torch.nn.Module, size: int, batch: int) -> Callable[[], object]:
    """Return a function that runs one step as torchvision's reference loop does."""
    images, boxes, labels = made_batch(size, batch)
    targets = [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()

    def step() -> None:
        losses = sum(model(list(images), targets).values())
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()

    return step


def gazehound_step(name: str, size: int, batch: int, classes: int) -> Callable[[], object]:
    """Return a function that runs one step as gazehound's trainer does (average included)."""
    from gazehound.training.ema import Ema

    network = gazehound.create(name, Classes(tuple(f"c{i}" for i in range(classes)))).detector
    network.train().to(memory_format=torch.channels_last)
    images, boxes, labels = made_batch(size, batch)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = pad_targets(boxes, labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    ema = Ema(network, 0.99)

    def step() -> None:
        losses = torch.stack(list(network.losses(network(images), targets).values())).sum()
        losses.backward()
        optimizer.step()
        ema.update()
        optimizer.zero_grad()

    return step


def made_batch(
    size: int, batch: int
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Return a 4:3 batch whose longer side is ``size``, with twelve boxes an image."""
    generator = torch.Generator().manual_seed(0)
    height = -(-size * 3 // 4 // 32) * 32
    images = torch.rand(batch, 3, height, size, generator=generator)
    corners = torch.rand(batch, 12, 2, generator=generator) * (height / 2)
    extents = torch.rand(batch, 12, 2, generator=generator) * (height / 2 - 16) + 12
    boxes = torch.cat((corners, corners + extents), -1)
    return images, list(boxes), [torch.arange(12) % 3] * batch


def torchvision_r18(size: int) -> torch.nn.Module:
    backbone = _resnet_fpn_extractor(
        torchvision.models.resnet18(weights=None),
        5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    return TorchvisionRetinaNet(backbone, 3, min_size=size * 3 // 4, max_size=size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("latency", "step", "recipe"))
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, gazehound {gazehound.__version__}, fp32"
    )
    if options.only in (None, "latency"):
        latency(options.repeats)
    if options.only in (None, "step"):
        theirs = retinanet_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=3, min_size=240, max_size=320
        )
        runs = {
            "torchvision": torchvision_step(theirs, 320, 2),
            "gazehound": gazehound_step("retinanet_r50", 320, 2, 3),
        }
        report("step", interleave(runs, options.repeats))
    if options.only in (None, "recipe"):
        runs = {
            "torchvision": torchvision_step(torchvision_r18(416), 416, 4),
            "gazehound": gazehound_step("retinanet_r18", 416, 4, 3),
        }
        report("recipe", interleave(runs, options.repeats))


if __name__ == "__main__":
    main()
