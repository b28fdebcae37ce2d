"""RetinaNet against torchvision's, with the same random weights and the same photographs."""

import json

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2

from gazehound.checkpoints.native import load_tensors
from gazehound.checkpoints.torchvision import import_retinanet
from gazehound.data.images import read_image
from gazehound.errors import CheckpointError
from gazehound.records import Classes

BUILDERS = {"retinanet_r50": retinanet_resnet50_fpn, "retinanet_r50_v2": retinanet_resnet50_fpn_v2}


def lively(model, seed=0):
    """Random weights that detect something: spread class logits, moved statistics, moved boxes."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2, generator=generator)
        elif "_head.conv" in name and tensor.ndim == 4:
            tensor.normal_(0, 0.025, generator=generator)
    model.eval()
    noise = torch.rand(1, 3, 256, 320, generator=generator) * 4 - 2
    with torch.no_grad():  # logits of spread 1 around -4, so that scores neither saturate nor tie
        head = model.head(list(model.backbone(noise).values()))
        logits, deltas = (
            model.head.classification_head.cls_logits,
            model.head.regression_head.bbox_reg,
        )
        logits.weight.mul_(1.0 / head["cls_logits"].std())
        deltas.weight.mul_(0.3 / head["bbox_regression"].std())
        logits.bias.fill_(-4.0)
    return model


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def pair(request):
    torch.manual_seed(0)
    theirs = BUILDERS[request.param](
        weights=None, weights_backbone=None, num_classes=7, min_size=256, max_size=384
    )
    theirs = lively(theirs)
    ours, _ = import_retinanet(
        theirs.state_dict(), request.param, Classes(tuple(f"c{i}" for i in range(7)))
    )
    ours.preprocess = ours.preprocess.at_size(256)
    object.__setattr__(ours.preprocess, "largest", 384)
    return theirs, ours.eval()


def photographs(real_data, count=4):
    listing = json.loads((real_data / "coco-tiny/annotations/instances_val2017.json").read_bytes())
    names = [row["file_name"] for row in listing["images"][:count]]
    return [read_image(real_data / "coco-tiny/val2017" / name) for name in names]


@torch.inference_mode()
def test_raw_outputs_are_equal(pair):
    theirs, ours = pair
    images = torch.randn(2, 3, 256, 320, generator=torch.Generator().manual_seed(1))
    features = list(theirs.backbone(images).values())
    head = theirs.head(features)
    wanted_anchors = theirs.anchor_generator(
        torchvision.models.detection.image_list.ImageList(images, [(256, 320)] * 2), features
    )[0]
    dense = ours(images)
    assert (dense.logits - head["cls_logits"]).abs().max() <= 1e-4
    assert (dense.deltas - head["bbox_regression"]).abs().max() <= 1e-4
    assert torch.equal(dense.anchors, wanted_anchors)


@torch.inference_mode()
def test_detections_on_photographs_are_equal(pair, real_data):
    theirs, ours = pair
    images = photographs(real_data)
    tensors = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images]
    for batch in ([0], [1, 2], [3]):  # alone and padded together
        wanted = theirs([tensors[i] for i in batch])
        found = ours.predict([images[i] for i in batch])
        for theirs_one, ours_one in zip(wanted, found, strict=True):
            assert len(ours_one) == len(theirs_one["boxes"]) > 10
            assert np.abs(ours_one.scores - theirs_one["scores"].numpy()).max() <= 1e-4
            same_order = ours_one.labels == theirs_one["labels"].numpy()
            boxes = np.abs(ours_one.boxes - theirs_one["boxes"].numpy()).max(axis=1)
            # Two scores closer than float noise may change places; nothing else may differ.
            assert (boxes[same_order] <= 0.05).mean() > 0.99
            assert same_order.mean() > 0.99


@torch.no_grad()
def test_losses_are_equal(pair):
    """Torchvision divides per image and then averages; on one image the normalisers agree."""
    theirs, ours = pair
    images = torch.rand(1, 3, 256, 320, generator=torch.Generator().manual_seed(2))
    boxes = torch.tensor([[10.0, 20, 90, 120], [100, 30, 260, 200], [5, 5, 25, 30]])
    labels = torch.tensor([0, 3, 6])
    from gazehound.data.batching import pad_targets

    features = list(theirs.backbone(images).values())
    anchors = theirs.anchor_generator(
        torchvision.models.detection.image_list.ImageList(images, [(256, 320)]), features
    )
    wanted = theirs.compute_loss(
        [{"boxes": boxes, "labels": labels}], theirs.head(features), anchors
    )
    got = ours.losses(ours(images), pad_targets([boxes], [labels]))
    assert got["class"] == pytest.approx(float(wanted["classification"]), rel=1e-4)
    if theirs.head.regression_head._loss_type == "giou":
        assert got["box"] == pytest.approx(float(wanted["bbox_regression"]), rel=1e-4)


def test_import_from_the_command_line(tmp_path, capsys):
    torch.manual_seed(0)
    theirs = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    from gazehound.cli.importing import import_weights

    out = tmp_path / "ours.safetensors"
    import_weights(tmp_path / "theirs.pth", "torchvision", "retinanet_r50", out)
    tensors, header = load_tensors(out)
    assert header.classes.names[1] == "person"
    assert header.classes.ids[1] == 1
    assert torch.equal(
        tensors["neck.p6.weight"], theirs.state_dict()["backbone.fpn.extra_blocks.p6.weight"]
    )


def test_frozen_norms_of_the_first_coco_weights_get_epsilon_zero():
    state = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2).state_dict()
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    ours, header = import_retinanet(state, "retinanet_r50", Classes(("a", "b")))
    assert header.arguments["norm_eps"] == 0.0
    assert ours.backbone.body.bn1.eps == 0.0
    assert not any(p.requires_grad for n, p in ours.named_parameters() if "bn" in n)


def test_a_wrong_model_is_one_line(tmp_path):
    state = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2).state_dict()
    with pytest.raises(CheckpointError, match="do not fit the architecture, the first is"):
        import_retinanet(state, "retinanet_r50_v2", Classes(("a", "b")))
    state["backbone.strange"] = torch.zeros(1)
    with pytest.raises(
        CheckpointError, match=r"1 keys are not known, the first is 'backbone.strange'"
    ):
        import_retinanet(state, "retinanet_r50", Classes(("a", "b")))
