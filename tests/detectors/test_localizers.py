"""The localizer and the sliding window: what they learn, what they answer."""

import pytest
import torch

from gazehound.data.batching import pad_targets
from gazehound.detectors.localizer import Localized, localizer
from gazehound.detectors.sliding_window import sliding_window
from gazehound.errors import ConfigError
from gazehound.records import Classes

CLASSES = Classes(("a", "b", "c"))


def targets(*images):
    boxes = [torch.tensor([row[:4] for row in rows]).float().reshape(-1, 4) for rows in images]
    return pad_targets(boxes, [torch.tensor([int(row[4]) for row in rows]) for rows in images])


@pytest.fixture(scope="module")
def single():
    torch.manual_seed(0)
    return localizer(CLASSES, backbone="resnet10t")


def said(*boxes, logits=0.0):
    """What a localizer says on inputs of 100 x 200: centre and size, relative."""
    return Localized(torch.full((len(boxes), 3), logits), torch.tensor(boxes), (100, 200))


def test_the_loss_by_hand(single):
    """Centre (60, 30), size (40, 20) of 200 x 100: (0.3, 0.3, 0.2, 0.2); ln 3 for three equal logits."""
    losses = single.losses(said((0.5, 0.3, 0.2, 0.1)), targets([(40, 20, 80, 40, 1)]))
    assert float(losses["class"]) == pytest.approx(1.0986, abs=1e-4)
    assert float(losses["box"]) == pytest.approx(10 * (0.2**2 + 0.1**2), rel=1e-4)


def test_the_largest_object_is_learned(single):
    truths = [(0, 0, 10, 10, 0), (40, 20, 80, 40, 1), (90, 90, 99, 99, 2)]
    alone = single.losses(said((0.5, 0.5, 0.5, 0.5)), targets(truths[1:2]))
    among = single.losses(said((0.5, 0.5, 0.5, 0.5)), targets(truths))
    assert {n: float(v) for n, v in alone.items()} == {n: float(v) for n, v in among.items()}


def test_images_without_objects_teach_nothing(single):
    outputs = said((0.5, 0.5, 0.5, 0.5), (0.1, 0.1, 0.1, 0.1))
    both = single.losses(outputs, targets([(40, 20, 80, 40, 1)], []))
    one = single.losses(said((0.5, 0.5, 0.5, 0.5)), targets([(40, 20, 80, 40, 1)]))
    assert {n: float(v) for n, v in both.items()} == {n: float(v) for n, v in one.items()}
    assert all(float(v) == 0 for v in single.losses(outputs, targets([], [])).values())


def test_one_box_is_answered(single):
    outputs = said((0.3, 0.3, 0.2, 0.2), (1.0, 0.5, 0.4, -1.0))
    outputs.logits[:, 2] = 3.0
    found = single.decode(outputs, torch.tensor([[100.0, 200], [100, 200]]))
    assert found.boxes[0].tolist() == [pytest.approx([40, 20, 80, 40], abs=1e-3)]
    assert found.boxes[1].tolist() == [
        pytest.approx([160, 50, 200, 50], abs=1e-3)
    ]  # cut, no height
    assert found.labels.tolist() == [[2], [2]]
    assert found.scores[0, 0] == pytest.approx(0.909, abs=1e-3)


def test_unknown_box_loss():
    with pytest.raises(ConfigError, match="unknown box loss of a localizer 'l1'"):
        localizer(CLASSES, backbone="resnet10t", box_loss="l1")


@pytest.fixture(scope="module")
def slid():
    torch.manual_seed(0)
    options = {"window": 32, "stride": 8, "levels": 3, "hidden": 8}
    return sliding_window(CLASSES, backbone="resnet10t", **options).eval()


def test_windows_lie_on_their_grid(slid):
    """Scale 1: 32 pixels every 8. Scale 0.5: 64 pixels every 16."""
    with torch.no_grad():
        windows = slid(torch.zeros(1, 3, 64, 96))
    assert windows.lengths == (5 * 9, 3 * 5, 1 * 3)
    assert windows.boxes[0].tolist() == [0, 0, 32, 32]
    assert windows.boxes[1].tolist() == [8, 0, 40, 32]
    assert windows.boxes[9].tolist() == [0, 8, 32, 40]
    last = windows.boxes[-3:]
    assert last.tolist() == [[0, 0, 64, 64], [16, 0, 80, 64], [32, 0, 96, 64]]
    assert torch.all(windows.boxes >= 0)
    assert windows.logits.shape == (1, 63, 4)


def test_an_image_smaller_than_a_window_is_enlarged(slid):
    with torch.no_grad():
        windows = slid(torch.zeros(1, 3, 8, 8))
    assert windows.lengths == (1, 1, 1)
    assert windows.boxes.tolist() == [[0, 0, 8, 8]] * 3


def test_every_batch_holds_objects(slid):
    """Even an object that no window overlaps by 0.5 has its best window."""
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    small = targets([(3, 3, 9, 9, 0)])
    with torch.no_grad():
        outputs = slid(images)
        match = slid.assign(outputs.boxes, small)
        drawn = slid.sample(match, torch.zeros(1, dtype=torch.long))
        losses = slid.losses(outputs, small)
    assert match.overlap.max() < 0.5
    assert 1 <= int(drawn.positive.sum()) <= drawn.index.shape[1] // 2
    assert int(drawn.valid.sum()) > int(drawn.positive.sum())
    assert float(losses["box"]) > 0


def test_padding_holds_no_object(slid):
    with torch.no_grad():
        outputs = slid(torch.zeros(1, 3, 64, 96))
    outputs.logits[..., 0] = 20.0
    found = slid.decode(outputs, torch.tensor([[64.0, 40.0]]))
    assert found.boxes[found.valid][:, 2].max() <= 40
    assert (found.boxes[found.valid][:, 2:] > found.boxes[found.valid][:, :2]).all()


def test_wrong_windows():
    with pytest.raises(ConfigError, match=r"window must be a multiple of stride \(16\); got 40"):
        sliding_window(CLASSES, backbone="resnet10t", window=40)
    with pytest.raises(ConfigError, match="a pyramid needs positive scales"):
        sliding_window(CLASSES, backbone="resnet10t", levels=0)
