"""Pieces of R-CNN and Fast R-CNN: warping, truncated layers, AlexNet and VGG16, batches of regions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from gazehound.errors import CheckpointError, ConfigError, TrainingError
from gazehound.nn.classic import classic_network, classic_parts
from gazehound.nn.heads.window import WindowHead
from gazehound.nn.region_classifier import FineTuning, RegionClassifier, fine_tune
from gazehound.nn.region_draws import RegionDraws
from gazehound.nn.truncation import thin_pair, truncated, with_thin_layers
from gazehound.nn.warping import warp, with_context


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_warping_is_bilinear_resizing():
    """A region inside the image, without context: what resizing its crop gives, away from the rim."""
    image = noise(3, 40, 50)
    boxes = torch.tensor([[5.0, 8, 25, 38], [10, 0, 50, 40]])
    got = warp(image, boxes, 16, context=0)
    for row, (x1, y1, x2, y2) in zip(got, boxes.int().tolist(), strict=True):
        wanted = F.interpolate(image[None, :, y1:y2, x1:x2], (16, 16), mode="bilinear")[0]
        assert torch.allclose(row[:, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1], atol=1e-5)


def test_context_surrounds_the_region():
    """16 of 227 pixels on each side: the box fills the 195 in the middle."""
    box = torch.tensor([[10.0, 20, 205, 410]])
    grown = with_context(box, 227, 16)
    assert torch.allclose(grown, torch.tensor([[-6.0, -12, 221, 442]]), atol=1e-4)
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 16:48, 16:48] = 1
    warped = warp(image[0], torch.tensor([[16.0, 16, 48, 48]]), 32, context=8)
    assert torch.allclose(warped[0, :, 9:23, 9:23], torch.ones(3, 14, 14))
    assert warped[0, :, :7].abs().max() < 1e-6


def test_outside_the_image_is_the_mean():
    warped = warp(
        torch.ones(3, 20, 20), torch.tensor([[-40.0, -40, -20, -20], [0, 0, 20, 20]]), 24, 4
    )
    assert torch.all(warped[0] == 0)
    assert torch.all(warped[1, :, 6:18, 6:18] == 1)
    assert torch.all(warped[1, :, :2] == 0)


def test_warping_nothing():
    assert warp(torch.ones(3, 5, 5), torch.zeros(0, 4), 16, 2).shape == (0, 3, 16, 16)
    with pytest.raises(ConfigError, match=r"context must lie in 0\.\.7 for 16; got 8"):
        warp(torch.ones(3, 5, 5), torch.zeros(1, 4), 16, 8)


def test_truncation_is_the_best_of_its_rank():
    layer = nn.Linear(20, 12)
    inputs = noise(7, 20)
    whole = truncated(layer, 12)
    assert torch.allclose(whole(inputs), layer(inputs), atol=1e-5)
    pair = truncated(layer, 5)
    weight = pair[1].weight @ pair[0].weight
    values = torch.linalg.svdvals(layer.weight.detach().double())
    error = torch.linalg.norm((weight - layer.weight).double())
    assert float(error) == pytest.approx(float(values[5:].square().sum().sqrt()), rel=1e-4)
    assert sum(p.numel() for p in pair.parameters()) == 5 * (20 + 12) + 12
    with pytest.raises(ConfigError, match=r"can be cut to 1\.\.12; got 13"):
        thin_pair(layer, 13)


def test_a_body_with_thin_layers():
    with torch.device("meta"):
        _, body = classic_parts("vgg16")
        thin = with_thin_layers(body, (1024, 256), keep_weights=False)
    shapes = [tuple(m.weight.shape) for m in thin.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(1024, 25088), (4096, 1024), (256, 4096), (4096, 256)]
    assert len([m for m in body.modules() if isinstance(m, nn.Linear)]) == 2  # the body stays
    with pytest.raises(ConfigError, match="there are 2 fully connected layers"):
        with_thin_layers(body, (5,))


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_classic_keys_are_torchvisions(name):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(weights=None).state_dict()
        trunk, body = classic_parts(name)
    ours = {**trunk.state_dict(), **body.state_dict()}
    assert {k: v.shape for k, v in ours.items()} == {k: theirs[k].shape for k in ours}
    last = {k for k in theirs if k not in ours}
    assert len(last) == 2
    assert all(k.startswith("classifier.6") for k in last)


def test_a_file_of_torchvisions_weights(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(weights=None, num_classes=1000).eval()
    torch.save(theirs.state_dict(), tmp_path / "alexnet.pth")
    file = str(tmp_path / "alexnet.pth")
    trunk, body = classic_parts("alexnet", pretrained=file)
    image = noise(1, 3, 96, 96)
    with torch.no_grad():
        pooled = theirs.avgpool(F.max_pool2d(trunk(image)[0], 3, 2))
        logits = theirs.classifier[-1](body.eval()(pooled))
        assert torch.equal(logits, theirs(image))
    assert [p.requires_grad for p in trunk.parameters()] == [False, False] + [True] * 8
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match="not torchvision's weights of alexnet"):
        classic_network("alexnet", pretrained=str(tmp_path / "wrong.pth"))
    with pytest.raises(CheckpointError, match=r"absent\.pth: not a file of plain tensors"):
        classic_network("alexnet", pretrained=str(tmp_path / "absent.pth"))
    with pytest.raises(ConfigError, match="have layers of 4096; got 64"):
        classic_parts("alexnet", pretrained=file, hidden=64)


def test_a_map_of_stride_16():
    trunk = classic_parts("alexnet", hidden=8)[0].eval()
    with torch.no_grad():
        assert trunk(torch.zeros(1, 3, 227, 227))[0].shape == (1, 256, 13, 13)
        assert trunk(torch.zeros(2, 3, 8, 8))[0].shape == (2, 256, 1, 1)
    with pytest.raises(ConfigError, match="unknown classic network 'vgg15'"):
        classic_parts("vgg15")


def test_a_slid_head_is_the_head_on_every_window():
    """A fully connected layer on a window is a convolution over the map."""
    head = WindowHead(5, 4, cells=3, hidden=6)
    cells = noise(2, 5, 7, 9)
    logits, deltas = head(cells)
    assert logits.shape == (2, 4, 5, 7)
    for y, x in ((0, 0), (2, 3), (4, 6)):
        alone = head(cells[:, :, y : y + 3, x : x + 3])
        assert torch.allclose(logits[:, :, y, x], alone[0][:, :, 0, 0], atol=1e-5)
        assert torch.allclose(deltas[:, :, y, x], alone[1][:, :, 0, 0], atol=1e-5)


@pytest.mark.parametrize("name", ["alexnet", "resnet10t"])
def test_features_lead_to_the_logits(name):
    network = RegionClassifier(name, 3, hidden=32).eval()
    regions = noise(2, 3, 96, 96)
    with torch.no_grad():
        fc7, pool5, logits = network.features(regions)
        assert torch.allclose(logits, network(regions), atol=1e-5)
    assert logits.shape == (2, 4)
    assert fc7.shape == (2, 32 if name == "alexnet" else 512)
    assert pool5.shape == (2, 9216 if name == "alexnet" else 9 * 512)
    assert [
        part.shape[0] for part in network.describe(noise(3, 20, 20), torch.zeros(0, 4), 16)
    ] == [0] * 3


def draws_of(labels, seed=0):
    """A region in each of as many images, image i full of i + 1."""
    with torch.device("meta"):
        network = RegionClassifier("resnet10t", 2)
    network.side = 8
    network.network = nn.Linear(1, 1)  # only its device matters
    return RegionDraws(
        lambda row: torch.full((3, 12, 12), float(row + 1)),
        [np.array([[0, 0, 8, 8]], np.float32)] * len(labels),
        [np.array([label]) for label in labels],
        network,
        FineTuning(batch=32, positive=8),
        0,
        seed,
    )


def test_draws_hold_a_quarter_of_objects():
    regions, labels = draws_of([0, 2, 2, 2, 1, 2])()
    assert regions.shape == (32, 3, 8, 8)
    assert (labels != 2).sum() == 8
    assert set(labels.tolist()) == {0, 1, 2}
    row_of = {0: 1.0, 1: 5.0}
    for region, label in zip(regions, labels.tolist(), strict=True):
        assert label == 2 or torch.all(region == row_of[label])
    again = draws_of([0, 2, 2, 2, 1, 2])()
    assert torch.equal(again[1], labels)
    assert torch.equal(again[0], regions)


def test_draws_without_background_or_objects():
    assert (draws_of([0, 1])()[1] != 2).all()
    with pytest.raises(TrainingError, match="no region of any image shows an object"):
        draws_of([2, 2])


def test_fine_tuning_learns_and_says_when_it_cannot():
    torch.manual_seed(0)
    network = RegionClassifier("resnet10t", 1)
    labels = torch.tensor([0, 1] * 4)
    regions = (labels.float() * 2 - 1)[:, None, None, None].expand(-1, 3, 32, 32) + 0.1 * noise(
        8, 3, 32, 32
    )
    rules = FineTuning(steps=12, batch=8, positive=4, lr=0.02)
    losses = fine_tune(network, lambda: (regions, labels), rules, range(rules.steps))
    assert losses[-1] < 0.3 * losses[0]
    assert not network.training
    with pytest.raises(TrainingError, match="the loss is nan at step 0"):
        fine_tune(network, lambda: (regions * float("nan"), labels), rules, range(1))
    with pytest.raises(ConfigError, match=r"positive in 1\.\.batch"):
        FineTuning(positive=200)
