"""One detector, other parts: necks and assigners are arguments, and the rest stays as it is.

python examples/swap_parts.py
"""

import torch

import gazehound
from gazehound.data.batching import pad_targets

SMALL = {"backbone": "test_resnet", "channels": 32, "depth": 1}


def main() -> dict[str, int]:
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    truths = pad_targets([torch.tensor([[20.0, 30, 80, 100]])], [torch.tensor([0])])
    positives = {}
    for neck in ("fpn", "panet", "bifpn", "yolo"):
        network = gazehound.create("retinanet_r18", ["thing"], neck=neck, **SMALL).detector.eval()
        maps = network.neck(network.backbone(images))
        print(f"{neck:8} {[tuple(level.shape[1:]) for level in maps]}")
    for assigner in ("max-iou", "atss", "simota", "ota"):
        network = gazehound.create("retinanet_r18", ["thing"], assigner=assigner, **SMALL).detector
        outputs = network(images)
        losses = network.losses(outputs, truths)
        match = network.assign(outputs.candidates, truths, _predictions(network, outputs))
        positives[assigner] = int(match.positive.sum())
        told = ", ".join(f"{name} {loss.item():.2f}" for name, loss in losses.items())
        print(
            f"{assigner:8} {positives[assigner]:3} positive of {match.positive.numel()}; losses: {told}"
        )
    return positives


def _predictions(network, outputs):
    from gazehound.nn.assigners.assigner import Predictions

    with torch.no_grad():
        return Predictions(outputs.logits, network.coder.decode(outputs.deltas, outputs.anchors))


if __name__ == "__main__":
    main()
