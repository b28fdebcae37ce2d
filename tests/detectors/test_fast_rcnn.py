"""Fast R-CNN: where its regions come from, its edge cases, and the layers that SVD makes thin."""

import numpy as np
import pytest
import torch
import torchvision

from gazehound.data.batching import pad_targets
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.fast_rcnn import (
    FastRCNN,
    compressed,
    fast_rcnn_alexnet,
    fast_rcnn_c4,
    fast_rcnn_vgg16,
    pictures_in,
)
from gazehound.errors import ConfigError
from gazehound.records import Classes

CLASSES = Classes(("a", "b", "c"))
SIZED = Preprocess(resize="longer", size=96, multiple=32)


class Fixed:
    """Proposes given boxes, and keeps the pictures it was asked about."""

    def __init__(self, *boxes):
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)
        self.pictures = []

    def propose(self, image, limit=2000):
        self.pictures.append(image)
        return self.boxes[:limit]


def tiny(*boxes, **options):
    torch.manual_seed(0)
    network = fast_rcnn_c4(CLASSES, backbone="resnet10t", preprocess=SIZED, proposals=20, **options)
    network.proposer = Fixed(*boxes)
    return network


def picture(height=96, width=96, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def targets(*images):
    boxes = [torch.tensor(image, dtype=torch.float32).reshape(-1, 4) for image in images]
    return pad_targets(boxes, [torch.zeros(len(b), dtype=torch.long) for b in boxes])


def test_the_proposer_sees_the_picture_itself():
    """Not normalised, not padded; black and white borders are picture, zeros are padding."""
    images = [picture(64, 96), picture(96, 50, seed=1), picture(32, 32)]
    images[1][-5:] = 0
    images[1][:, -5:] = 255
    batch = Preprocess(resize="longer", size=96, multiple=32).collate(
        *zip(
            *(Preprocess(resize="longer", size=max(i.shape)).apply(i) for i in images), strict=True
        )
    )
    assert batch.images.shape[-2:] == (96, 96)
    for image, seen in zip(images, pictures_in(batch.images, SIZED), strict=True):
        assert np.array_equal(image, seen)


def test_proposals_are_padded_and_marked():
    network = tiny([0, 0, 50, 50], [10, 10, 90, 90])
    proposals = network.propose(SIZED.batch([picture(), picture(seed=1)]).images)
    assert proposals.boxes.shape == (2, 20, 4)
    assert proposals.valid.sum(dim=1).tolist() == [2, 2]
    assert proposals.boxes[0, :2].tolist() == [[0, 0, 50, 50], [10, 10, 90, 90]]


@pytest.mark.parametrize("boxes", [[], [[0, 0, 96, 96]], [[3, 3, 3, 3]]])
@pytest.mark.parametrize("truths", [[], [[10, 10, 60, 60]]])
def test_edges_of_learning(boxes, truths):
    """No proposals, none that is positive, none with area; no truths: finite, with valid gradients."""
    network = tiny(*boxes).train()
    images = SIZED.batch([picture(), picture(seed=1)]).images
    losses = network.losses(network(images), targets(truths, []))
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    for parameter in network.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


def test_no_proposals_no_detections():
    assert [len(found) for found in tiny().predict([picture(), picture(1, 1)])] == [0, 0]


def test_the_regions_that_learn_are_the_papers():
    """64 per image, a quarter positive from IoU 0.5, background from 0.1 to 0.5; the rest never."""
    truth = [0.0, 0, 40, 40]
    near = [[0, 0, 40, 40 - i / 2] for i in range(30)]  # IoU 1 down to 0.64
    middle = [[0, 0, 40, 10 + i / 10] for i in range(60)]  # IoU 0.25 to 0.4
    far = [[60, 60, 80, 80]] * 30
    network = tiny(*near, *middle, *far)
    network.count = 120
    outputs = network(SIZED.batch([picture()]).images)
    regions = network.region.label(
        outputs.proposals.with_truths(targets([truth])), targets([truth])
    )
    assert regions.boxes.shape == (1, 64, 4)
    assert regions.valid.all()
    assert regions.positive.sum() == 16
    assert torch.all(regions.boxes[..., 0] == 0)  # none of the far ones
    assert torch.all(regions.truths[regions.positive] == torch.tensor(truth))


def test_box_targets_follow_the_paper():
    """Deltas over a tenth and a fifth of the region: the published per-class spread, roughly."""
    network = tiny([0, 0, 96, 96])
    region, truth = torch.tensor([[10.0, 20, 50, 60]]), torch.tensor([[14.0, 16, 54, 96]])
    got = network.region.coder.encode(truth, region)[0]
    wanted = [10 * 4 / 40, 10 * 16 / 40, 0.0, 5 * np.log(2)]
    assert got.tolist() == pytest.approx(wanted, abs=1e-5)


@torch.no_grad()
def test_outputs_equal_torchvisions_parts():
    """AlexNet by torchvision's own layers: features, roi_pool, classifier."""
    torch.manual_seed(0)
    network = fast_rcnn_alexnet(CLASSES, preprocess=SIZED, proposals=4, hidden=64).eval()
    boxes = [[0, 0, 90, 50], [20, 30, 95, 95], [5, 5, 9, 9]]
    network.proposer = Fixed(*boxes)
    images = SIZED.batch([picture()]).images
    outputs = network(images)
    logits, deltas = network.region(outputs.maps, outputs.proposals.boxes)
    cells = network.backbone.features(images)
    rows = torch.tensor([[0.0, *box] for box in boxes])
    pooled = torchvision.ops.roi_pool(cells, rows, 6, 1 / 16)
    fc7 = network.region.body.classifier(pooled.flatten(1))
    assert torch.allclose(logits[0, :3], network.region.predictor.class_logits(fc7), atol=1e-5)
    assert deltas.shape == (1, 4, 3, 4)


@torch.no_grad()
def test_full_rank_svd_changes_nothing_and_a_low_one_little():
    torch.manual_seed(0)
    network = fast_rcnn_alexnet(CLASSES, preprocess=SIZED, proposals=3, hidden=32).eval()
    network.proposer = Fixed([0, 0, 90, 50], [20, 30, 95, 95])
    images = SIZED.batch([picture()]).images

    def logits(detector):
        outputs = detector(images)
        return detector.region(outputs.maps, outputs.proposals.boxes)[0]

    wanted = logits(network)
    assert torch.allclose(logits(compressed(network, (32, 32)).eval()), wanted, atol=1e-5)
    thin = compressed(network, (8, 4)).eval()
    assert (logits(thin) - wanted).abs().max() > 1e-6
    again = fast_rcnn_alexnet(CLASSES, preprocess=SIZED, proposals=3, hidden=32, svd=(8, 4)).eval()
    again.proposer = network.proposer
    again.load_state_dict(thin.state_dict())
    assert torch.equal(logits(again), logits(thin))
    with pytest.raises(ConfigError, match="there are 2 fully connected layers"):
        compressed(network, (8,))


@pytest.mark.parametrize(
    ("build", "published"), [(fast_rcnn_vgg16, 134_690_729), (fast_rcnn_alexnet, 0)]
)
def test_parameter_counts(build, published):
    """VGG16 at 20 classes: Fast R-CNN's own count, which has boxes for the background, too."""
    with torch.device("meta"):
        network = build(Classes(tuple(f"class {i}" for i in range(20))))
    assert isinstance(network, FastRCNN)
    count = sum(p.numel() for p in network.parameters())
    if published:
        assert count + 4 * (4096 + 1) == published


def test_mirrored_images_are_asked_about_once():
    network = fast_rcnn_c4(
        CLASSES, backbone="resnet10t", preprocess=SIZED, proposals=20, search={"mode": "single"}
    )
    images = SIZED.batch([picture(), np.ascontiguousarray(picture()[:, ::-1])]).images
    proposals = network.propose(images)
    assert len(network.proposer) == 1
    mirrored = proposals.boxes[1].clone()
    mirrored[:, [0, 2]] = 96 - mirrored[:, [2, 0]]
    both = proposals.valid[0, :, None]
    assert torch.equal(proposals.boxes[0] * both, mirrored * both)


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="proposals must be at least 1; got 0"):
        fast_rcnn_c4(CLASSES, backbone="resnet10t", proposals=0)
    with pytest.raises(ConfigError, match="unknown mode of selective search"):
        fast_rcnn_c4(CLASSES, backbone="resnet10t", search={"mode": "slow"})
