"""SSD300 and SSDLite320 against torchvision's, with the same random weights."""

import json

import numpy as np
import pytest
import torch
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large

from gazehound.checkpoints.importing import import_file
from gazehound.checkpoints.rebuild import load, save
from gazehound.checkpoints.torchvision_ssd import SSD_IMPORTERS
from gazehound.data.batching import pad_targets
from gazehound.data.images import read_image
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

BUILDERS = {"ssd300": ssd300_vgg16, "ssdlite320": ssdlite320_mobilenet_v3_large}
SIZES = {"ssd300": 300, "ssdlite320": 320}
NAMES = Classes(tuple(f"c{i}" for i in range(6)))


def lively(model, size, seed=0):
    """Random weights that detect something: moved statistics, spread logits, moved boxes."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2, generator=generator)
        elif (
            tensor.ndim == 4 and "head" not in name
        ):  # keeps the activations alive through the depth
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
    model.eval()
    noise = model.transform.normalize(torch.rand(3, size, size, generator=generator))[None]
    with torch.no_grad():
        maps = list(model.backbone(noise).values())
        for head, spread in (("classification_head", 2.0), ("regression_head", 1.0)):
            for x, module in zip(maps, getattr(model.head, head).module_list, strict=True):
                last = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)][-1]
                last.weight.normal_(0, 0.02, generator=generator)
                last.weight.mul_(spread / module(x).std().clamp(min=1e-6))
    return model


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def pair(request):
    torch.manual_seed(0)
    theirs = BUILDERS[request.param](weights=None, weights_backbone=None, num_classes=7)
    theirs = lively(theirs, SIZES[request.param])
    ours, _ = SSD_IMPORTERS[request.param](theirs.state_dict(), request.param, NAMES)
    return theirs, ours.eval()


def image_list(images):
    from torchvision.models.detection.image_list import ImageList

    return ImageList(images, [tuple(images.shape[-2:])] * len(images))


@torch.inference_mode()
def test_raw_outputs_are_equal(pair):
    theirs, ours = pair
    size = ours.preprocess.size
    noise = torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))
    images = theirs.transform.normalize(noise)[None]
    maps = list(theirs.backbone(images).values())
    head = theirs.head(maps)
    boxed = ours(images)
    wanted = head["cls_logits"].roll(-1, dims=2)  # torchvision's background comes first
    assert wanted.std() > 0.5
    assert (boxed.logits - wanted).abs().max() <= 1e-3
    assert (boxed.deltas - head["bbox_regression"]).abs().max() <= 1e-3
    assert (
        boxed.anchors - theirs.anchor_generator(image_list(images), maps)[0]
    ).abs().max() <= 1e-3


@torch.inference_mode()
def test_detections_on_photographs_are_equal(pair, real_data):
    theirs, ours = pair
    listing = json.loads((real_data / "coco-tiny/annotations/instances_val2017.json").read_bytes())
    names = [row["file_name"] for row in listing["images"][:2]]
    images = [read_image(real_data / "coco-tiny/val2017" / name) for name in names]
    wanted = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images])
    for theirs_one, ours_one in zip(wanted, ours.predict(images), strict=True):
        assert len(ours_one) == len(theirs_one["boxes"]) > 10
        assert np.abs(ours_one.scores - theirs_one["scores"].numpy()).max() <= 1e-4
        same_order = ours_one.labels == theirs_one["labels"].numpy() - 1
        boxes = np.abs(ours_one.boxes - theirs_one["boxes"].numpy()).max(axis=1)
        # Two scores closer than float noise may change places; nothing else may differ.
        assert (boxes[same_order] <= 0.05).mean() > 0.98
        assert same_order.mean() > 0.98


@torch.no_grad()
def test_losses_are_equal(pair):
    theirs, ours = pair
    size = ours.preprocess.size
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1
    boxes = [
        torch.tensor([[10.0, 20, 90, 120], [100, 30, 260, 200], [5, 5, 25, 30]]),
        torch.tensor([[150.0, 150, 290, 280]]),
    ]
    labels = [torch.tensor([0, 3, 5]), torch.tensor([2])]
    maps = list(theirs.backbone(images).values())
    anchors = theirs.anchor_generator(image_list(images), maps)
    from torchvision.ops import box_iou

    matches = [theirs.proposal_matcher(box_iou(b, a)) for b, a in zip(boxes, anchors, strict=True)]
    targets = [{"boxes": b, "labels": one + 1} for b, one in zip(boxes, labels, strict=True)]
    wanted = theirs.compute_loss(targets, theirs.head(maps), anchors, matches)
    got = ours.losses(ours(images), pad_targets(boxes, labels))
    assert got["class"] == pytest.approx(float(wanted["classification"]), rel=1e-4)
    assert got["box"] == pytest.approx(float(wanted["bbox_regression"]), rel=1e-4)


def test_import_from_a_file_and_reload(tmp_path):
    torch.manual_seed(0)
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    assert sum(p.numel() for p in theirs.parameters()) == 3_440_060
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours, header = import_file(tmp_path / "theirs.pth", "torchvision", "ssdlite320")
    assert sum(p.numel() for p in ours.parameters()) == 3_440_060
    assert (header.classes.names[0], header.classes.ids[0]) == ("person", 1)
    save(tmp_path / "ours.safetensors", ours, header)
    again, _ = load(tmp_path / "ours.safetensors")
    assert again.preprocess == ours.preprocess
    assert again.preprocess.filter == "torchvision"


def test_a_whole_tail_is_known_by_its_channels(monkeypatch):
    """As torchvision builds SSDLite when it starts from ImageNet weights."""
    from torchvision.models.detection import ssdlite

    build = ssdlite.mobilenet_v3_large
    monkeypatch.setattr(
        ssdlite, "mobilenet_v3_large", lambda **options: build(**{**options, "reduced_tail": False})
    )
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    ours, header = SSD_IMPORTERS["ssdlite320"](theirs.state_dict(), "ssdlite320")
    assert header.arguments == {"reduced": False}
    assert ours.backbone.channels == [672, 960]


def test_a_wrong_file_is_one_line():
    with torch.device("meta"):
        state = ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=3
        ).state_dict()
    with pytest.raises(CheckpointError, match=r"no tensor 'head\.classification_head"):
        SSD_IMPORTERS["ssd300"](state, "ssd300")
    with pytest.raises(ConfigError, match="the file has 2 classes; got 3 class names"):
        SSD_IMPORTERS["ssdlite320"](state, "ssdlite320", Classes(("a", "b", "c")))


def test_published_counts_of_weights():
    """Torchvision's at 91 outputs, Caffe's and MMDetection's for VOC and COCO."""
    from gazehound.detectors.ssd import ssd300, ssd512

    names = Classes(tuple(str(i) for i in range(90)))
    for build, classes, published in (
        (ssd300, 90, 35_641_826), (ssd300, 20, 26_285_486), (ssd300, 80, 34_305_206),
        (ssd512, 90, 37_513_116), (ssd512, 20, 27_188_676), (ssd512, 80, 36_038_196),
    ):  # fmt: skip
        with torch.device("meta"):
            network = build(Classes(names.names[:classes]), norm="none")
        assert sum(p.numel() for p in network.parameters()) == published
