"""FCOS against torchvision's, with the same random weights."""

import numpy as np
import pytest
import torch
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.detection.image_list import ImageList

from gazehound.checkpoints.torchvision_fcos import import_fcos
from gazehound.data.batching import pad_targets
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

NAMES = Classes(tuple(f"c{i}" for i in range(7)))


def lively(model):
    """Random weights that detect something: class logits, centre-ness and distances of some spread."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2, generator=generator)
        elif "_head.conv" in name and tensor.ndim == 4:
            tensor.normal_(0, 0.025, generator=generator)
    model.eval()
    noise = torch.rand(1, 3, 128, 160, generator=generator) * 4 - 2
    with torch.no_grad():
        out = model.head(list(model.backbone(noise).values()))
        regression = model.head.regression_head
        model.head.classification_head.cls_logits.weight.mul_(1 / out["cls_logits"].std())
        model.head.classification_head.cls_logits.bias.fill_(-2.0)
        regression.bbox_ctrness.weight.mul_(1 / out["bbox_ctrness"].std())
        regression.bbox_reg.weight.mul_(1 / out["bbox_regression"].std())
        regression.bbox_reg.bias.fill_(2.0)
    return model


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    theirs = lively(
        fcos_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=7, min_size=128, max_size=192
        )
    )
    ours, header = import_fcos(theirs.state_dict(), "fcos_r50", NAMES)
    assert header.arguments == {"dialect": "torchvision"}
    ours.preprocess = ours.preprocess.at_size(128)
    object.__setattr__(ours.preprocess, "largest", 192)
    return theirs, ours.eval()


@torch.inference_mode()
def test_raw_outputs_and_losses_are_equal(pair):
    """Images of 136 x 200 pixels: the coarse levels' strides, image // grid, are odd ones."""
    theirs, ours = pair
    images = torch.randn(2, 3, 136, 200, generator=torch.Generator().manual_seed(1))
    features = list(theirs.backbone(images).values())
    head = theirs.head(features)
    anchors = theirs.anchor_generator(ImageList(images, [(136, 200)] * 2), features)
    out = ours(images)
    assert torch.equal(out.anchors, anchors[0])
    assert (out.logits - head["cls_logits"]).abs().max() <= 1e-4
    assert (out.regression - head["bbox_regression"]).abs().max() <= 1e-4
    assert (out.quality - head["bbox_ctrness"][..., 0]).abs().max() <= 1e-4

    boxes = [
        torch.tensor([[10.0, 20, 90, 120], [60, 30, 190, 130], [5, 5, 25, 30], [12, 22, 88, 118]]),
        torch.tensor([[0.0, 0, 199, 135]]),
    ]
    labels = [torch.tensor([0, 3, 6, 2]), torch.tensor([1])]
    truths = [{"boxes": b, "labels": n} for b, n in zip(boxes, labels, strict=True)]
    lengths = [f.shape[2] * f.shape[3] for f in features]
    wanted = theirs.compute_loss(truths, head, anchors, lengths)
    got = ours.losses(out, pad_targets(boxes, labels))
    for name, key in (
        ("class", "classification"),
        ("box", "bbox_regression"),
        ("centreness", "bbox_ctrness"),
    ):
        assert float(got[name]) == pytest.approx(float(wanted[key]), rel=1e-4), name


@torch.inference_mode()
def test_detections_are_equal(pair):
    theirs, ours = pair
    generator = np.random.default_rng(0)
    blocks = [generator.integers(0, 256, shape, np.uint8) for shape in ((9, 12, 3), (13, 8, 3))]
    images = [np.kron(b, np.ones((16, 16, 1), np.uint8)) for b in blocks]
    wanted = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images])
    for reference, found in zip(wanted, ours.predict(images), strict=True):
        assert len(found) == len(reference["boxes"]) > 10
        assert np.abs(found.scores - reference["scores"].numpy()).max() <= 1e-4
        same = found.labels == reference["labels"].numpy()
        boxes = np.abs(found.boxes - reference["boxes"].numpy()).max(axis=1)
        # Two scores closer than float noise may change places; nothing else may differ.
        assert (boxes[same] <= 0.05).mean() > 0.99
        assert same.mean() > 0.99


def test_faults_of_a_file_are_one_line():
    with torch.device("meta"):
        state = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2).state_dict()
    with pytest.raises(ConfigError, match="the file has 2 class outputs; got 7 class names"):
        import_fcos(state, "fcos_r50", NAMES)
    with pytest.raises(CheckpointError, match="1 keys are not known, the first is 'strange'"):
        import_fcos({**state, "strange": torch.zeros(1)}, "fcos_r50", Classes(("a", "b")))
    del state["head.classification_head.cls_logits.bias"]
    with pytest.raises(CheckpointError, match="no tensor 'head"):
        import_fcos(state, "fcos_r50", NAMES)
